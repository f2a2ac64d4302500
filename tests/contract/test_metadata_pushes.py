"""The contract of pushes, repositories and tag immutability, over every metadata store."""

import asyncio
import time

import pytest

from proxy.core.ports import (
    ContentMissingError,
    ManifestKeptError,
    ManifestPush,
    MetadataStore,
    RepositoryRecord,
    RepositoryUnknownError,
    TagKeptError,
    TagWrite,
)
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, Provenance
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.support.metadata import (
    BLOB,
    HUB,
    HUB_ANONYMOUS,
    OTHER,
    QUAY,
    REPOSITORY,
    SUBJECT,
    manifest,
    push_of,
    pushed,
    remember,
    tag,
)

LATEST = Tag("latest")
IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)
MUTABLE = TagPolicy(TagMutability.MUTABLE)
ONLY_LATEST_MOVES = TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest", "dev-*"))
ONLY_RELEASES_STAY = TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*",))
KEPT = TagWrite(default=IMMUTABLE)


# --- repositories -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, MUTABLE, IMMUTABLE, ONLY_LATEST_MOVES, ONLY_RELEASES_STAY])
async def test_a_repository_is_returned_as_it_was_made(metadata: MetadataStore, policy: TagPolicy | None) -> None:
    record = RepositoryRecord(OTHER, 1_700_000_000.123, policy)

    assert await metadata.repository(OTHER) is None
    assert await metadata.create_repository(record) is True
    assert await metadata.repository(OTHER) == record
    assert await metadata.repositories("", 10) == [OTHER]


async def test_a_repository_that_exists_is_left_as_it_is(store: MetadataStore) -> None:
    await store.push(REPOSITORY, push_of("one", "latest"), None)

    assert await store.create_repository(RepositoryRecord(REPOSITORY, 9.0, IMMUTABLE)) is False
    assert await store.repository(REPOSITORY) == RepositoryRecord(REPOSITORY, 1.5)
    assert await store.tag(REPOSITORY, LATEST) == pushed("latest", "one")


async def test_a_repository_that_a_pull_or_a_proof_makes_begins_then(metadata: MetadataStore) -> None:
    before = time.time()
    await remember(metadata)
    await metadata.prove(OTHER, BLOB, None)
    for name in (REPOSITORY, OTHER):
        record = await metadata.repository(name)

        assert record is not None
        assert before <= record.created_at <= time.time()
        assert (record.name, record.tag_policy) == (name, None)


async def test_what_is_kept_later_leaves_the_repository_as_it_is(store: MetadataStore) -> None:
    await store.set_tag_policy(REPOSITORY, ONLY_LATEST_MOVES)
    await remember(store, tag=tag())
    await store.prove(REPOSITORY, BLOB, None)
    await store.push(REPOSITORY, push_of("one", "v1"), None)

    assert await store.repository(REPOSITORY) == RepositoryRecord(REPOSITORY, 1.5, ONLY_LATEST_MOVES)


async def test_a_policy_is_set_and_taken_away(store: MetadataStore) -> None:
    for policy in (ONLY_LATEST_MOVES, IMMUTABLE, ONLY_RELEASES_STAY, MUTABLE, None):
        assert await store.set_tag_policy(REPOSITORY, policy) is True
        assert await store.repository(REPOSITORY) == RepositoryRecord(REPOSITORY, 1.5, policy)


async def test_a_repository_that_is_not_there_gets_no_policy(store: MetadataStore) -> None:
    assert await store.set_tag_policy(OTHER, IMMUTABLE) is False
    assert await store.repository(OTHER) is None


async def test_a_deleted_repository_takes_its_policy_with_it(store: MetadataStore) -> None:
    await store.set_tag_policy(REPOSITORY, IMMUTABLE)
    await store.delete_repository(REPOSITORY)
    await store.create_repository(RepositoryRecord(REPOSITORY, 2.5))

    assert await store.repository(REPOSITORY) == RepositoryRecord(REPOSITORY, 2.5)


# --- pushes -------------------------------------------------------------------------------------------------------


async def test_a_push_keeps_manifest_children_and_tags(store: MetadataStore) -> None:
    record = manifest("one", subject=SUBJECT, artifact_type="sbom", annotations=(("a", "b"),))
    child = Descriptor("layer", BLOB, 7)
    await store.prove(REPOSITORY, BLOB, None)
    tags = TagWrite((pushed("a", "one"), pushed("b", "one")))
    await store.push(REPOSITORY, ManifestPush(record, (child,), frozenset({BLOB}), tags=tags), None)

    assert await store.manifest(REPOSITORY, record.digest, None) == record
    assert await store.manifest(REPOSITORY, record.digest, HUB) == record  # uploaded here: any rule may serve it
    assert await store.manifest(OTHER, record.digest, HUB) is None
    assert await store.descriptor(REPOSITORY, BLOB, None) == child
    assert await store.referrers(REPOSITORY, SUBJECT, "sbom", "", 10) == [record]
    assert await store.tags(REPOSITORY, [UPLOADED], "", 10) == ["a", "b"]
    assert await store.tag(REPOSITORY, Tag("b")) == pushed("b", "one")


async def test_a_push_again_replaces_record_and_children(store: MetadataStore) -> None:
    for digest in (BLOB, SUBJECT):
        push = ManifestPush(manifest(), (Descriptor("layer", digest, 7),))
        await store.push(REPOSITORY, push, None)

    assert await store.descriptor(REPOSITORY, BLOB, None) is None
    assert await store.descriptor(REPOSITORY, SUBJECT, None) == Descriptor("layer", SUBJECT, 7)


@pytest.mark.parametrize("kept_from", [None, HUB, QUAY])
async def test_a_manifest_keeps_the_media_type_that_it_came_with(
    store: MetadataStore, kept_from: Provenance | None
) -> None:
    await remember(store, manifest(subject=SUBJECT), Descriptor("layer", BLOB, 7), provenance=kept_from)
    push = ManifestPush(manifest(media_type="application/json"), tags=TagWrite((pushed("new", "manifest"),)))
    with pytest.raises(ManifestKeptError) as raised:
        await store.push(REPOSITORY, push, HUB)

    assert raised.value.record == manifest(subject=SUBJECT)
    assert await store.referrers(REPOSITORY, SUBJECT, None, "", 10) == [manifest(subject=SUBJECT)]
    assert await store.descriptor(REPOSITORY, BLOB, kept_from) == Descriptor("layer", BLOB, 7)
    assert await store.tag(REPOSITORY, Tag("new")) is None

    await store.delete_manifest(REPOSITORY, manifest().digest)
    await store.push(REPOSITORY, push, HUB)
    assert await store.manifest(REPOSITORY, manifest().digest, HUB) == push.manifest


async def test_a_push_to_no_repository_keeps_nothing(metadata: MetadataStore) -> None:
    missing = ManifestPush(manifest(), blobs=frozenset({BLOB}), tags=KEPT)
    with pytest.raises(RepositoryUnknownError):
        await metadata.push(REPOSITORY, missing, None)

    assert await metadata.has_repository(REPOSITORY) is False
    assert await metadata.manifest(REPOSITORY, manifest().digest, None) is None


async def test_all_that_is_missing_is_told_once_in_order_and_nothing_is_kept(store: MetadataStore) -> None:
    await store.prove(REPOSITORY, BLOB, None)
    await store.push(REPOSITORY, push_of("held"), None)
    absent = [Digest.of(text, algorithm) for text in (b"1", b"2", b"3") for algorithm in ("sha256", "sha512")]
    push = ManifestPush(
        manifest("one"),
        (Descriptor("layer", BLOB, 7),),
        blobs=frozenset({BLOB, *absent[:4], manifest("held").digest}),  # a manifest is no blob
        manifests=frozenset({manifest("held").digest, BLOB, *absent[2:]}),  # an index may name blobs
        tags=TagWrite((pushed("latest", "one"),)),
    )
    with pytest.raises(ContentMissingError) as raised:
        await store.push(REPOSITORY, push, None)

    assert raised.value.digests == tuple(sorted([*absent, manifest("held").digest]))
    assert await store.manifest(REPOSITORY, manifest("one").digest, None) is None
    assert await store.descriptor(REPOSITORY, BLOB, None) is None
    assert await store.tags(REPOSITORY, None, "", 10) == []


NEEDED = [
    # kept in, from        pushed for            seen
    (REPOSITORY, None, None, True),
    (REPOSITORY, None, HUB, True),
    (REPOSITORY, HUB, None, True),
    (REPOSITORY, HUB, HUB, True),
    (REPOSITORY, HUB, HUB_ANONYMOUS, True),
    (REPOSITORY, HUB, QUAY, False),  # from where the rule led before
    (OTHER, HUB, HUB, True),  # shown by the same source to the same account
    (OTHER, HUB, None, False),
    (OTHER, HUB, HUB_ANONYMOUS, False),
    (OTHER, None, None, False),
    (OTHER, None, HUB, False),
]


@pytest.mark.parametrize(("kept_in", "kept_from", "pushed_for", "seen"), NEEDED)
async def test_a_push_needs_what_its_provenance_sees(
    store: MetadataStore,
    kept_in: RepositoryName,
    kept_from: Provenance | None,
    pushed_for: Provenance | None,
    seen: bool,  # noqa: FBT001 - a column of the table
) -> None:
    await store.prove(kept_in, BLOB, kept_from)
    await remember(store, manifest("child"), repository=kept_in, provenance=kept_from)
    child = manifest("child").digest
    push = ManifestPush(manifest("one"), blobs=frozenset({BLOB}), manifests=frozenset({child}))
    if not seen:
        with pytest.raises(ContentMissingError) as raised:
            await store.push(REPOSITORY, push, pushed_for)
        assert raised.value.digests == tuple(sorted([BLOB, child]))
        return
    await store.push(REPOSITORY, push, pushed_for)

    assert await store.manifest(REPOSITORY, manifest("one").digest, QUAY) == manifest("one")  # whatever the rule


async def test_very_many_children_are_all_looked_for(store: MetadataStore) -> None:
    digests = sorted(Digest.of(str(number).encode()) for number in range(1_201))
    proven = [*digests[::100], *digests[99::100]]  # also at the ends of whatever parts are looked for at once
    for digest in proven:
        await store.prove(REPOSITORY, digest, None)
    push = ManifestPush(manifest(), blobs=frozenset(digests), manifests=frozenset(digests))
    with pytest.raises(ContentMissingError) as raised:
        await store.push(REPOSITORY, push, None)

    assert raised.value.digests == tuple(sorted(set(digests) - set(proven)))
    children = tuple(Descriptor("layer", digest, 1) for digest in digests)
    await store.push(REPOSITORY, ManifestPush(manifest(), children, frozenset(proven)), None)
    for digest in (digests[0], digests[-1]):
        assert await store.descriptor(REPOSITORY, digest, None) == Descriptor("layer", digest, 1)


async def test_what_is_missing_is_told_before_the_tag_that_is_kept(store: MetadataStore) -> None:
    await store.push(REPOSITORY, push_of("one", "latest"), None)
    push = push_of("two", "latest", write=KEPT)
    with pytest.raises(ContentMissingError):
        await store.push(REPOSITORY, ManifestPush(push.manifest, blobs=frozenset({BLOB}), tags=push.tags), None)
    with pytest.raises(TagKeptError):
        await store.push(REPOSITORY, push, None)


# --- immutability -------------------------------------------------------------------------------------------------


async def test_a_kept_tag_is_told_as_it_stands_and_nothing_is_written(store: MetadataStore) -> None:
    await remember(store, tag=tag(outcome="timeout", failed_at=3.0))
    push = push_of("two", "new", "latest", "newer", write=KEPT)
    with pytest.raises(TagKeptError) as raised:
        await store.push(REPOSITORY, push, None)

    assert raised.value.record == tag(outcome="timeout", failed_at=3.0)
    assert await store.tag(REPOSITORY, LATEST) == raised.value.record
    assert await store.tags(REPOSITORY, None, "", 10) == ["latest"]
    assert await store.manifest(REPOSITORY, manifest("two").digest, None) is None


async def test_a_refresh_that_would_move_a_kept_tag_writes_nothing(metadata: MetadataStore) -> None:
    await remember(metadata, tag=tag())
    moved = TagWrite((tag("new", digest=BLOB), tag(digest=BLOB, checked_at=999.0)), IMMUTABLE)
    with pytest.raises(TagKeptError) as raised:
        await metadata.remember(
            REPOSITORY, manifest("two"), [Descriptor("layer", SUBJECT, 1)], provenance=QUAY, tags=moved
        )

    assert raised.value.record == tag()
    assert await metadata.tag(REPOSITORY, LATEST) == tag()
    assert await metadata.tag(REPOSITORY, Tag("new")) is None
    assert await metadata.manifest(REPOSITORY, manifest("two").digest, None) is None
    assert await metadata.descriptor(REPOSITORY, SUBJECT, None) is None


async def test_an_immutable_tag_can_be_made(metadata: MetadataStore) -> None:
    await metadata.remember(REPOSITORY, manifest(), (), provenance=HUB, tags=TagWrite((tag(),), IMMUTABLE))

    assert await metadata.tag(REPOSITORY, LATEST) == tag()


@pytest.mark.parametrize(
    ("own", "default", "moves"),
    [
        (None, MUTABLE, True),
        (None, IMMUTABLE, False),
        (MUTABLE, IMMUTABLE, True),  # the repository's own counts
        (IMMUTABLE, MUTABLE, False),
        (ONLY_LATEST_MOVES, IMMUTABLE, True),
        (TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("Latest", "late")), MUTABLE, False),
        (TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("l*t",)), MUTABLE, False),
        (ONLY_RELEASES_STAY, IMMUTABLE, True),
    ],
)
async def test_the_policy_of_the_repository_decides_and_else_that_of_the_configuration(
    store: MetadataStore,
    own: TagPolicy | None,
    default: TagPolicy,
    moves: bool,  # noqa: FBT001 - a column of the table
) -> None:
    await store.set_tag_policy(REPOSITORY, own)
    await store.push(REPOSITORY, push_of("one", "latest"), None)
    push = push_of("two", "latest", write=TagWrite(default=default))
    if not moves:
        with pytest.raises(TagKeptError):
            await store.push(REPOSITORY, push, None)
    else:
        await store.push(REPOSITORY, push, None)

    assert await store.tag(REPOSITORY, LATEST) == pushed("latest", "two" if moves else "one")


async def test_a_policy_is_that_of_its_repository_only(store: MetadataStore) -> None:
    await store.create_repository(RepositoryRecord(OTHER, 1.0))
    await store.set_tag_policy(REPOSITORY, IMMUTABLE)
    for text in ("one", "two"):
        await store.push(OTHER, push_of(text, "latest"), None)

    assert await store.tag(OTHER, LATEST) == pushed("latest", "two")


async def test_the_digest_that_a_kept_tag_has_is_written_again_where_that_is_permitted(store: MetadataStore) -> None:
    await store.push(REPOSITORY, push_of("one", "latest"), None)
    with pytest.raises(TagKeptError) as raised:
        await store.push(REPOSITORY, push_of("one", "latest", write=TagWrite(default=IMMUTABLE, repeat=False)), None)
    assert raised.value.record == pushed("latest", "one")

    again = TagWrite((tag(digest=manifest("one").digest, source=UPLOADED, fetched_at=9.0),), IMMUTABLE)
    await store.push(REPOSITORY, ManifestPush(manifest("one"), tags=again), None)
    assert await store.tag(REPOSITORY, LATEST) == again.records[0]
    # Where tags move, the same again is no exception.
    await store.push(REPOSITORY, push_of("one", "latest", write=TagWrite(repeat=False)), None)


@pytest.mark.parametrize("repeat", [True, False])
async def test_a_new_tag_that_is_named_twice_is_not_kept_from_itself(
    store: MetadataStore,
    repeat: bool,  # noqa: FBT001 - a column of the table
) -> None:
    write = TagWrite(default=IMMUTABLE, repeat=repeat)
    await store.push(REPOSITORY, push_of("one", "latest", "latest", write=write), None)

    assert await store.tag(REPOSITORY, LATEST) == pushed("latest", "one")


async def test_of_several_kept_tags_the_first_that_was_named_is_told(store: MetadataStore) -> None:
    await store.push(REPOSITORY, push_of("one", "a", "b", "c"), None)
    with pytest.raises(TagKeptError) as raised:
        await store.push(REPOSITORY, push_of("two", "new", "c", "a", write=KEPT), None)

    assert raised.value.record.tag == "c"


async def test_tags_that_were_pushed_are_spared_whatever_the_policy_says(store: MetadataStore) -> None:
    await store.push(REPOSITORY, push_of("one", "latest"), None)
    await remember(store, tag=tag("pulled"))
    moved = tag(digest=manifest("two").digest)
    for record in (moved, tag(digest=manifest("one").digest)):  # the same digest would take it from who pushed it
        write = TagWrite((record,), spared=(UPLOADED,))
        with pytest.raises(TagKeptError) as raised:
            await store.remember(REPOSITORY, manifest("two"), (), provenance=HUB, tags=write)
        assert raised.value.record == pushed("latest", "one")
    assert await store.manifest(REPOSITORY, manifest("two").digest, None) is None

    pulled = TagWrite((tag("pulled", digest=manifest("two").digest),), spared=(UPLOADED,))
    await store.remember(REPOSITORY, manifest("two"), (), provenance=HUB, tags=pulled)
    await store.remember(REPOSITORY, manifest("two"), (), provenance=HUB, tags=TagWrite((moved,)))
    assert await store.tag(REPOSITORY, LATEST) == moved


@pytest.mark.parametrize("by", ["tag", "digest", "repository"])
async def test_what_is_deleted_frees_the_tag(store: MetadataStore, by: str) -> None:
    await store.set_tag_policy(REPOSITORY, IMMUTABLE)
    await store.push(REPOSITORY, push_of("one", "latest"), None)
    match by:
        case "tag":
            assert await store.delete_tag(REPOSITORY, LATEST) is True
        case "digest":
            assert await store.delete_manifest(REPOSITORY, manifest("one").digest) is True
        case _:
            assert await store.delete_repository(REPOSITORY) is True
            await store.create_repository(RepositoryRecord(REPOSITORY, 2.0, IMMUTABLE))
    await store.push(REPOSITORY, push_of("two", "latest"), None)

    assert await store.tag(REPOSITORY, LATEST) == pushed("latest", "two")
    with pytest.raises(TagKeptError):
        await store.push(REPOSITORY, push_of("one", "latest"), None)


async def test_of_many_pushes_to_one_immutable_tag_exactly_one_wins(store: MetadataStore) -> None:
    texts = [f"manifest {number}" for number in range(200)]
    pushes = (store.push(REPOSITORY, push_of(text, "latest", write=KEPT), None) for text in texts)
    ended = await asyncio.gather(*pushes, return_exceptions=True)

    (winner,) = [text for text, end in zip(texts, ended, strict=True) if end is None]
    kept = pushed("latest", winner)
    assert await store.tag(REPOSITORY, LATEST) == kept
    refusals = [end for end in ended if end is not None]
    assert {type(end) for end in refusals} == {TagKeptError}
    assert {end.record for end in refusals if isinstance(end, TagKeptError)} == {kept}
    held = [text for text in texts if await store.manifest(REPOSITORY, manifest(text).digest, None) is not None]
    assert held == [winner]
