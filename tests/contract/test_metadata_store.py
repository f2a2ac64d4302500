"""The contract of the metadata ports, over every implementation; pushes have a suite of their own."""

import asyncio

import pytest

from proxy.core.ports import Listing, MetadataStore
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from tests.support.metadata import (
    BLOB,
    HUB,
    HUB_ANONYMOUS,
    OTHER,
    QUAY,
    REPOSITORY,
    SUBJECT,
    manifest,
    remember,
    tag,
)


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


# --- catalog ------------------------------------------------------------------------------------------------------


async def test_an_empty_store_knows_nothing(store: MetadataStore) -> None:
    assert await store.repositories("", 10) == []
    assert await store.has_repository(REPOSITORY) is False
    assert await store.tag(REPOSITORY, Tag("latest")) is None
    assert await store.tags(REPOSITORY, None, "", 10) == []
    assert await store.manifest(REPOSITORY, BLOB, None) is None
    assert await store.descriptor(REPOSITORY, BLOB, None) is None
    assert await store.referrers(REPOSITORY, BLOB, None, "", 10) == []
    assert await store.holders(BLOB, 10) == []
    assert await store.proven(REPOSITORY, BLOB, None) is False
    assert await store.listing(REPOSITORY, "tags", HUB.source) is None


async def test_changing_what_is_not_there_changes_nothing(store: MetadataStore) -> None:
    await store.update_tag(REPOSITORY, tag())

    assert await store.disprove(REPOSITORY, BLOB) is False
    assert await store.delete_tag(REPOSITORY, Tag("latest")) is False
    assert await store.delete_manifest(REPOSITORY, BLOB) is False
    assert await store.delete_repository(REPOSITORY) is False
    assert await store.has_repository(REPOSITORY) is False
    assert await store.tag(REPOSITORY, Tag("latest")) is None


async def test_repositories_are_paged_in_byte_order(store: MetadataStore) -> None:
    names = ["a", "a-b", "a.b", "a/b", "a0", "a_b", "b"]
    for name in reversed(names):
        await remember(store, repository=RepositoryName(name))

    assert sorted(names) == names  # bytes: - . / 0 _
    assert await store.repositories("", 100) == names
    assert await store.repositories("", 3) == names[:3]
    assert await store.repositories("a.b", 2) == ["a/b", "a0"]
    assert await store.repositories("a.c", 100) == names[3:]
    assert await store.repositories("b", 100) == []
    assert await store.repositories("", 0) == []


async def test_a_tag_is_returned_as_it_was_kept(store: MetadataStore) -> None:
    record = tag(outcome="timeout", failed_at=300.125, missing_since=400.5, media_type=OCI_INDEX)
    await remember(store, tag=record)

    assert await store.tag(REPOSITORY, Tag("latest")) == record
    assert await store.tag(REPOSITORY, Tag("Latest")) is None
    assert await store.tag(OTHER, Tag("latest")) is None


async def test_a_tag_moves_as_a_whole(store: MetadataStore) -> None:
    await remember(store, tag=tag(outcome="timeout", failed_at=3.0, missing_since=4.0))
    new = manifest("new")
    moved = tag(digest=new.digest, source=QUAY.source, fetched_at=9.0, checked_at=9.0, media_type=OCI_INDEX)
    await remember(store, new, provenance=QUAY, tag=moved)

    assert await store.tag(REPOSITORY, Tag("latest")) == moved
    assert await store.tags(REPOSITORY, None, "", 10) == ["latest"]


async def test_tags_are_paged_in_byte_order(store: MetadataStore) -> None:
    names = ["1.0", "1.10", "1.2", "A", "_x", "a", "a-b", "a.b"]
    for name in reversed(names):
        await remember(store, tag=tag(name))
    await remember(store, repository=OTHER, tag=tag("elsewhere"))

    assert await store.tags(REPOSITORY, None, "", 100) == names
    assert await store.tags(REPOSITORY, None, "", 2) == names[:2]
    assert await store.tags(REPOSITORY, None, "1.10", 3) == ["1.2", "A", "_x"]
    assert await store.tags(REPOSITORY, None, "1.1", 1) == ["1.10"]
    assert await store.tags(REPOSITORY, None, "a.b", 100) == []
    assert await store.tags(REPOSITORY, None, "", 0) == []


async def test_tags_of_one_source_are_told_from_others(store: MetadataStore) -> None:
    await remember(store, tag=tag("a", source=HUB.source))
    await remember(store, tag=tag("b", source=QUAY.source))
    await remember(store, tag=tag("c", source=HUB.source))
    await remember(store, tag=tag("d", source=""))

    assert await store.tags(REPOSITORY, [HUB.source], "", 10) == ["a", "c"]
    assert await store.tags(REPOSITORY, [HUB.source, ""], "", 10) == ["a", "c", "d"]
    assert await store.tags(REPOSITORY, ["", HUB.source], "a", 1) == ["c"]
    assert await store.tags(REPOSITORY, [HUB.source, HUB.source], "", 10) == ["a", "c"]
    assert await store.tags(REPOSITORY, [], "", 10) == []
    assert await store.tags(REPOSITORY, [HUB.source], "a", 10) == ["c"]
    assert await store.tags(REPOSITORY, [QUAY.source], "", 10) == ["b"]
    assert await store.tags(REPOSITORY, [""], "", 10) == ["d"]
    assert await store.tags(REPOSITORY, ["ghcr.io/x"], "", 10) == []


async def test_a_check_changes_times_and_outcome_only(store: MetadataStore) -> None:
    await remember(store, tag=tag())
    check = tag(
        checked_at=1.5,
        outcome="rate_limited",
        failed_at=2.5,
        missing_since=3.5,
        fetched_at=0.0,
        media_type="other",
        source="other",
    )
    await store.update_tag(REPOSITORY, check)

    assert await store.tag(REPOSITORY, Tag("latest")) == tag(
        checked_at=1.5, outcome="rate_limited", failed_at=2.5, missing_since=3.5
    )


async def test_a_check_of_an_old_digest_changes_nothing(store: MetadataStore) -> None:
    await remember(store, tag=tag())
    await store.update_tag(REPOSITORY, tag(digest=BLOB, checked_at=999.0))

    assert await store.tag(REPOSITORY, Tag("latest")) == tag()


async def test_a_check_touches_no_other_tag(store: MetadataStore) -> None:
    await remember(store, tag=tag("a"))
    await remember(store, tag=tag("b"))
    await remember(store, repository=OTHER, tag=tag("a"))
    await store.update_tag(REPOSITORY, tag("a", checked_at=999.0))

    assert await store.tag(REPOSITORY, Tag("b")) == tag("b")
    assert await store.tag(OTHER, Tag("a")) == tag("a")


async def test_a_deleted_tag_leaves_its_manifest(store: MetadataStore) -> None:
    await remember(store, tag=tag("a"))
    await remember(store, tag=tag("b"))

    assert await store.delete_tag(REPOSITORY, Tag("a"), QUAY.source) is False  # it came from elsewhere
    assert await store.delete_tag(REPOSITORY, Tag("b"), HUB.source) is True
    await remember(store, tag=tag("b"))
    assert await store.delete_tag(REPOSITORY, Tag("a")) is True
    assert await store.delete_tag(REPOSITORY, Tag("a")) is False
    assert await store.tags(REPOSITORY, None, "", 10) == ["b"]
    assert await store.manifest(REPOSITORY, manifest().digest, HUB) == manifest()


async def test_a_deleted_repository_leaves_nothing_of_its_own(store: MetadataStore) -> None:
    child = Descriptor("layer", BLOB, 7)
    for repository in (REPOSITORY, OTHER):
        for provenance in (HUB if repository == REPOSITORY else QUAY, None):
            await remember(
                store, manifest(subject=SUBJECT), child, repository=repository, provenance=provenance, tag=tag()
            )
            await store.prove(repository, BLOB, provenance)
        await store.keep_listing(repository, "tags", HUB.source, Listing(b"[]", 1.0))

    assert await store.delete_repository(REPOSITORY) is True
    assert await store.delete_repository(REPOSITORY) is False
    assert await store.repositories("", 10) == [OTHER]
    for repository, there in ((REPOSITORY, False), (OTHER, True)):
        assert await store.has_repository(repository) is there
        assert (await store.tag(repository, Tag("latest")) is not None) is there
        assert (await store.manifest(repository, manifest().digest, None) is not None) is there
        assert (await store.descriptor(repository, BLOB, None) is not None) is there
        assert (await store.referrers(repository, SUBJECT, None, "", 10) != []) is there
        assert await store.proven(repository, BLOB, None) is there
        assert (await store.listing(repository, "tags", HUB.source) is not None) is there
    # Nor does anything of it answer through its source elsewhere, or come back with its name.
    assert await store.manifest(OTHER, manifest().digest, HUB) is not None  # the uploaded copy in OTHER itself
    assert await store.proven(RepositoryName("third"), BLOB, HUB) is False
    await store.prove(REPOSITORY, SUBJECT, HUB)
    assert await store.manifest(REPOSITORY, manifest().digest, None) is None


# --- manifests ----------------------------------------------------------------------------------------------------


async def test_a_manifest_is_returned_as_it_was_kept(store: MetadataStore) -> None:
    record = manifest(
        artifact_type="application/vnd.example+json",
        subject=SUBJECT,
        annotations=(("z", "last first"), ("a", "\u2603 \x00 'quoted'")),
        size=1 << 40,
    )
    await remember(store, record)

    assert await store.manifest(REPOSITORY, record.digest, HUB) == record
    assert await store.has_repository(REPOSITORY) is True
    assert await store.tags(REPOSITORY, None, "", 10) == []


async def test_a_sha512_manifest_is_kept_under_its_own_digest(store: MetadataStore) -> None:
    digest = Digest.of(b"manifest", "sha512")
    await remember(store, manifest(digest=digest, subject=digest))

    assert await store.manifest(REPOSITORY, digest, HUB) == manifest(digest=digest, subject=digest)
    assert await store.manifest(REPOSITORY, manifest().digest, HUB) is None


async def test_remembering_again_replaces_record_and_children(store: MetadataStore) -> None:
    await remember(store, manifest(), Descriptor("old", BLOB, 1), Descriptor("gone", SUBJECT, 1))
    await remember(store, manifest(media_type=OCI_INDEX), Descriptor("new", BLOB, 2))

    assert await store.manifest(REPOSITORY, manifest().digest, HUB) == manifest(media_type=OCI_INDEX)
    assert await store.descriptor(REPOSITORY, BLOB, HUB) == Descriptor("new", BLOB, 2)
    assert await store.descriptor(REPOSITORY, SUBJECT, HUB) is None


async def test_a_descriptor_is_returned_as_the_manifest_has_it(store: MetadataStore) -> None:
    child = Descriptor(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        BLOB,
        1 << 40,
        artifact_type="application/x",
        annotations={"b": "1", "a": "2"},
        urls=("https://example.com/1", "https://example.com/2"),
    )
    await remember(store, manifest(), Descriptor("config", SUBJECT, 2), child)

    assert await store.descriptor(REPOSITORY, BLOB, HUB) == child
    assert await store.descriptor(REPOSITORY, SUBJECT, HUB) == Descriptor("config", SUBJECT, 2)
    assert await store.descriptor(REPOSITORY, manifest().digest, HUB) is None


async def test_content_named_twice_in_a_manifest_has_its_first_descriptor(store: MetadataStore) -> None:
    await remember(store, manifest(), Descriptor("first", BLOB, 1), Descriptor("second", BLOB, 1))

    assert await store.descriptor(REPOSITORY, BLOB, HUB) == Descriptor("first", BLOB, 1)


async def test_the_manifests_that_name_content_are_found_in_order(store: MetadataStore) -> None:
    child = Descriptor("layer", BLOB, 7)
    for name in ("one", "two", "three"):
        await remember(store, manifest(name), Descriptor("config", SUBJECT, 2), child)
    await remember(store, manifest("other"), Descriptor("config", SUBJECT, 2))
    await remember(store, manifest("elsewhere"), child, repository=OTHER, provenance=QUAY)

    named = sorted((manifest(name).digest for name in ("one", "two", "three")), key=str)
    assert await store.manifests_naming(REPOSITORY, BLOB, HUB) == named
    assert await store.manifests_naming(REPOSITORY, BLOB, None) == named
    assert await store.manifests_naming(REPOSITORY, manifest("one").digest, HUB) == []
    await store.delete_manifest(REPOSITORY, manifest("two").digest)
    assert manifest("two").digest not in await store.manifests_naming(REPOSITORY, BLOB, HUB)


async def test_a_manifest_that_names_content_twice_or_by_two_sources_is_found_once(store: MetadataStore) -> None:
    twice = (Descriptor("layer", BLOB, 7), Descriptor("layer", BLOB, 7))
    for provenance in (HUB, HUB_ANONYMOUS, None):
        await remember(store, manifest(), *twice, provenance=provenance)

    assert await store.manifests_naming(REPOSITORY, BLOB, HUB) == [manifest().digest]


async def test_a_descriptor_lives_while_a_manifest_names_it(store: MetadataStore) -> None:
    child = Descriptor("layer", BLOB, 7)
    await remember(store, manifest("one"), child)
    await remember(store, manifest("two"), child)

    await store.delete_manifest(REPOSITORY, manifest("one").digest)
    assert await store.descriptor(REPOSITORY, BLOB, HUB) == child
    await store.delete_manifest(REPOSITORY, manifest("two").digest)
    assert await store.descriptor(REPOSITORY, BLOB, HUB) is None


VISIBILITY = [
    # kept in, from        asked in, for              seen
    (REPOSITORY, HUB, REPOSITORY, HUB, True),
    (REPOSITORY, HUB, REPOSITORY, HUB_ANONYMOUS, True),  # the same source here, by another account
    (REPOSITORY, HUB, REPOSITORY, QUAY, False),  # the same account, another source
    (REPOSITORY, HUB, REPOSITORY, None, True),
    (REPOSITORY, HUB, OTHER, HUB, True),  # the same source by the same account
    (REPOSITORY, HUB, OTHER, HUB_ANONYMOUS, False),
    (REPOSITORY, HUB_ANONYMOUS, OTHER, HUB, False),
    (REPOSITORY, HUB_ANONYMOUS, OTHER, HUB_ANONYMOUS, True),
    (REPOSITORY, HUB, OTHER, QUAY, False),
    (REPOSITORY, HUB, OTHER, None, False),
    (REPOSITORY, None, REPOSITORY, None, True),
    (REPOSITORY, None, REPOSITORY, HUB, True),  # uploaded here
    (REPOSITORY, None, OTHER, HUB, False),
    (REPOSITORY, None, OTHER, None, False),
]


@pytest.mark.parametrize(("kept_in", "kept_from", "asked_in", "asked_for", "seen"), VISIBILITY)
async def test_content_answers_to_its_provenance_only(
    store: MetadataStore,
    kept_in: RepositoryName,
    kept_from: Provenance | None,
    asked_in: RepositoryName,
    asked_for: Provenance | None,
    seen: bool,  # noqa: FBT001 - a column of the table
) -> None:
    await remember(store, manifest(), Descriptor("layer", BLOB, 7), repository=kept_in, provenance=kept_from)
    await store.prove(kept_in, BLOB, kept_from)

    assert (await store.manifest(asked_in, manifest().digest, asked_for) == manifest()) is seen
    assert (await store.descriptor(asked_in, BLOB, asked_for) == Descriptor("layer", BLOB, 7)) is seen
    assert bool(await store.manifests_naming(asked_in, BLOB, asked_for)) is seen
    assert await store.proven(asked_in, BLOB, asked_for) is seen


async def test_content_from_two_sources_stays_provable_by_both(store: MetadataStore) -> None:
    for provenance in (HUB, QUAY):
        await remember(store, manifest(), Descriptor("layer", BLOB, 7), provenance=provenance)
        await store.prove(REPOSITORY, BLOB, provenance)

    for repository in (REPOSITORY, OTHER):
        for provenance in (HUB, QUAY):
            assert await store.manifest(repository, manifest().digest, provenance) == manifest()
            assert await store.descriptor(repository, BLOB, provenance) == Descriptor("layer", BLOB, 7)
            assert await store.proven(repository, BLOB, provenance) is True


async def test_manifest_tag_and_children_of_different_repositories_are_apart(store: MetadataStore) -> None:
    await remember(store, manifest("one"), Descriptor("layer", BLOB, 1), provenance=None, tag=tag())
    await remember(store, manifest("two"), Descriptor("layer", BLOB, 2), repository=OTHER, provenance=None)

    assert await store.descriptor(REPOSITORY, BLOB, None) == Descriptor("layer", BLOB, 1)
    assert await store.descriptor(OTHER, BLOB, None) == Descriptor("layer", BLOB, 2)
    assert await store.manifest(REPOSITORY, manifest("two").digest, None) is None
    assert await store.tag(OTHER, Tag("latest")) is None


async def test_referrers_are_those_of_the_repository_ordered_by_digest(store: MetadataStore) -> None:
    expected = [
        manifest(f"signature {number}", subject=SUBJECT, artifact_type="sig", annotations=(("n", str(number)),))
        for number in range(10)
    ]
    for record in expected:
        await remember(store, record)
    await remember(store, manifest("of another", subject=BLOB))
    await remember(store, manifest("of none"))
    await remember(store, manifest("elsewhere", subject=SUBJECT), repository=OTHER)

    expected.sort(key=lambda record: str(record.digest))
    assert await store.referrers(REPOSITORY, SUBJECT, None, "", 10) == expected
    after = str(expected[3].digest)
    assert await store.referrers(REPOSITORY, SUBJECT, None, after, 3) == expected[4:7]
    assert await store.referrers(REPOSITORY, SUBJECT, None, str(expected[-1].digest), 3) == []
    assert await store.referrers(REPOSITORY, SUBJECT, None, "", 0) == []


async def test_large_referrers_come_a_few_at_a_time(store: MetadataStore) -> None:
    sizes = [3, 5, 1, 9, 2, 2, 2, 8, 4]
    records = [manifest(str(number), subject=SUBJECT, size=size << 20) for number, size in enumerate(sizes)]
    for number, record in enumerate(records):
        await remember(store, record, provenance=(HUB, QUAY, None)[number % 3])
    pages = [await store.referrers(REPOSITORY, SUBJECT, None, "", 100)]
    while pages[-1]:
        pages.append(await store.referrers(REPOSITORY, SUBJECT, None, str(pages[-1][-1].digest), 100))

    assert [record for page in pages for record in page] == sorted(records, key=lambda record: record.digest)
    assert all(len(page) == 1 or sum(record.size for record in page) <= 8 << 20 for page in pages[:-1])
    assert len(pages) < len(records)


async def test_referrers_of_one_type_are_told_from_others(store: MetadataStore) -> None:
    types = {"sbom": ("a", "c", "d"), "sig": ("b",), None: ("e",)}
    for artifact_type, names in types.items():
        for name in names:
            await remember(store, manifest(name, subject=SUBJECT, artifact_type=artifact_type))
    boms = sorted((manifest(name, subject=SUBJECT, artifact_type="sbom") for name in "acd"), key=lambda one: one.digest)

    assert await store.referrers(REPOSITORY, SUBJECT, "sbom", "", 10) == boms
    assert await store.referrers(REPOSITORY, SUBJECT, "sbom", str(boms[0].digest), 1) == boms[1:2]
    assert await store.referrers(REPOSITORY, SUBJECT, "", "", 10) == []
    assert len(await store.referrers(REPOSITORY, SUBJECT, None, "", 10)) == 5


async def test_a_referrer_from_two_sources_is_one(store: MetadataStore) -> None:
    for provenance in (HUB, QUAY, None):
        await remember(store, manifest(subject=SUBJECT), provenance=provenance)

    await remember(store, manifest("another", subject=SUBJECT), provenance=QUAY)
    both = sorted((manifest(subject=SUBJECT), manifest("another", subject=SUBJECT)), key=lambda one: one.digest)

    assert await store.referrers(REPOSITORY, SUBJECT, None, "", 10) == both
    assert await store.referrers(REPOSITORY, SUBJECT, None, "", 1) == both[:1]


async def test_a_deleted_manifest_takes_its_tags_with_it(store: MetadataStore) -> None:
    digest = manifest().digest
    for provenance in (HUB, QUAY, None):
        await remember(store, manifest(subject=SUBJECT), provenance=provenance, tag=tag("a"))
    await remember(store, tag=tag("b"))
    await remember(store, manifest("kept"), tag=tag("c", digest=manifest("kept").digest))
    await remember(store, repository=OTHER, provenance=QUAY, tag=tag("a"))

    assert await store.delete_manifest(REPOSITORY, digest) is True
    assert await store.delete_manifest(REPOSITORY, digest) is False
    assert await store.manifest(REPOSITORY, digest, None) is None
    assert await store.referrers(REPOSITORY, SUBJECT, None, "", 10) == []
    assert await store.tags(REPOSITORY, None, "", 10) == ["c"]
    assert await store.manifest(REPOSITORY, manifest("kept").digest, HUB) is not None
    assert await store.tags(OTHER, None, "", 10) == ["a"]
    assert await store.manifest(OTHER, digest, None) == manifest()


# --- proofs -------------------------------------------------------------------------------------------------------


async def test_a_proof_is_idempotent_and_makes_the_repository_known(store: MetadataStore) -> None:
    await store.prove(REPOSITORY, BLOB, HUB)
    await store.prove(REPOSITORY, BLOB, HUB)

    assert await store.proven(REPOSITORY, BLOB, HUB) is True
    assert await store.proven(REPOSITORY, SUBJECT, HUB) is False
    assert await store.has_repository(REPOSITORY) is True


async def test_disproving_removes_every_proof_of_this_repository_only(store: MetadataStore) -> None:
    for provenance in (HUB, QUAY, None):
        await store.prove(REPOSITORY, BLOB, provenance)
    await store.prove(REPOSITORY, SUBJECT, HUB)
    await store.prove(OTHER, BLOB, QUAY)

    assert await store.disprove(REPOSITORY, BLOB) is True
    assert await store.disprove(REPOSITORY, BLOB) is False
    assert await store.proven(REPOSITORY, BLOB, None) is False
    assert await store.proven(REPOSITORY, BLOB, HUB) is False
    assert await store.proven(REPOSITORY, BLOB, QUAY) is True  # by OTHER, the same source and account
    assert await store.proven(REPOSITORY, SUBJECT, HUB) is True
    assert await store.proven(OTHER, BLOB, None) is True


async def test_the_holders_of_a_blob_are_the_repositories_with_a_proof(store: MetadataStore) -> None:
    for provenance in (HUB, QUAY, None):
        await store.prove(REPOSITORY, BLOB, provenance)
    await store.prove(OTHER, BLOB, QUAY)
    await store.prove(RepositoryName("third"), SUBJECT, None)
    await remember(store, manifest(), Descriptor("layer", BLOB, 7), repository=RepositoryName("fourth"))

    assert sorted(await store.holders(BLOB, 10)) == [REPOSITORY, OTHER]
    assert await store.holders(BLOB, 1) in ([REPOSITORY], [OTHER])
    assert await store.holders(BLOB, 0) == []
    assert await store.holders(manifest().digest, 10) == []
    await store.disprove(REPOSITORY, BLOB)
    assert await store.holders(BLOB, 10) == [OTHER]
    await store.delete_repository(OTHER)
    assert await store.holders(BLOB, 10) == []


async def test_a_manifest_is_no_proof_of_its_blobs(store: MetadataStore) -> None:
    await remember(store, manifest(), Descriptor("layer", BLOB, 7))

    assert await store.proven(REPOSITORY, BLOB, HUB) is False
    assert await store.proven(REPOSITORY, manifest().digest, None) is False


# --- listings -----------------------------------------------------------------------------------------------------


async def test_a_listing_is_returned_to_its_source_only(store: MetadataStore) -> None:
    listing = Listing(b'\x00\xff["1.0"]', 5.5, 6.5)
    await store.keep_listing(REPOSITORY, "tags", HUB.source, listing)

    assert await store.listing(REPOSITORY, "tags", HUB.source) == listing
    assert await store.listing(REPOSITORY, "tags", QUAY.source) is None
    assert await store.listing(REPOSITORY, "referrers", HUB.source) is None
    assert await store.listing(OTHER, "tags", HUB.source) is None


async def test_a_listing_replaces_the_last_of_its_key(store: MetadataStore) -> None:
    await store.keep_listing(REPOSITORY, "tags", HUB.source, Listing(b"old", 1.0, 2.0))
    await store.keep_listing(REPOSITORY, "referrers", HUB.source, Listing(b"kept", 1.0))
    await store.keep_listing(REPOSITORY, "tags", QUAY.source, Listing(b"new", 3.0))

    assert await store.listing(REPOSITORY, "tags", HUB.source) is None
    assert await store.listing(REPOSITORY, "tags", QUAY.source) == Listing(b"new", 3.0)
    assert await store.listing(REPOSITORY, "referrers", HUB.source) == Listing(b"kept", 1.0)


async def test_a_listing_makes_no_repository(store: MetadataStore) -> None:
    await store.keep_listing(REPOSITORY, "tags", HUB.source, Listing(b"[]", 1.0))

    assert await store.has_repository(REPOSITORY) is False
    assert await store.repositories("", 10) == []


# --- all ----------------------------------------------------------------------------------------------------------


async def test_many_callers_at_once_lose_nothing(store: MetadataStore) -> None:
    names = [f"v{number:02}" for number in range(40)]
    await asyncio.gather(*(remember(store, manifest(name), tag=tag(name)) for name in names))
    seen = await asyncio.gather(*(store.tag(REPOSITORY, Tag(name)) for name in names))

    assert seen == [tag(name) for name in names]
    assert await store.tags(REPOSITORY, None, "", 100) == names


@pytest.mark.parametrize("provenance", [HUB, HUB_ANONYMOUS, QUAY])
@pytest.mark.parametrize("repository", [REPOSITORY, OTHER])
async def test_a_standing_is_what_two_questions_would_tell(
    store: MetadataStore, repository: RepositoryName, provenance: Provenance
) -> None:
    await store.prove(REPOSITORY, BLOB, HUB)
    await store.prove(OTHER, SUBJECT, None)
    for digest in (BLOB, SUBJECT, manifest().digest):
        told = [await store.proven(repository, digest, each) for each in (provenance, None)]
        assert await store.standing(repository, digest, provenance) == tuple(told)


async def test_a_proof_makes_a_repository_only_where_it_is_to(store: MetadataStore) -> None:
    assert await store.prove(REPOSITORY, BLOB, HUB, make=False) is False
    assert await store.has_repository(REPOSITORY) is False
    assert await store.prove(REPOSITORY, BLOB, HUB) is True
    assert await store.has_repository(REPOSITORY) is True
    assert await store.prove(REPOSITORY, SUBJECT, HUB, make=False) is True
    assert await store.proven(REPOSITORY, SUBJECT, HUB) is True
