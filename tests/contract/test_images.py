"""The contract of the `Images` port, over every metadata store."""

import time
from collections.abc import Sequence

import pytest

from proxy.core.ports import ManifestPush, TagWrite
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import ImageRecord, PullNote
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import Tag
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
    push_of,
    pushed,
    remember,
    tag,
)

LAYERS = tuple(Digest.of(text.encode()) for text in ("base", "middle", "top"))
BASE, MIDDLE, TOP = (Descriptor("layer", digest, size) for digest, size in zip(LAYERS, (100, 20, 3), strict=True))


def digest_of(text: str) -> Digest:
    return manifest(text).digest


def in_order(*texts: str) -> list[Digest]:
    return sorted(map(digest_of, texts), key=str)


async def push_image(store: RegistryStore, text: str, *layers: Descriptor, tags: Sequence[str] = ()) -> Digest:
    write = TagWrite(tuple(pushed(name, text) for name in tags))
    await store.push(REPOSITORY, ManifestPush(manifest(text), layers, tags=write), None)
    return digest_of(text)


async def push_index(
    store: RegistryStore, text: str, *images: str, media_type: str = OCI_INDEX, tags: Sequence[str] = ()
) -> Digest:
    children = [Descriptor(OCI_MANIFEST, digest_of(image), 9_999) for image in images]
    write = TagWrite(tuple(pushed(name, text) for name in tags))
    await store.push(REPOSITORY, ManifestPush(manifest(text, media_type=media_type), tuple(children), tags=write), None)
    return digest_of(text)


async def listed(store: RegistryStore, *, tagged: bool | None = None) -> list[Digest]:
    return [image.digest for image in await store.images(REPOSITORY, "", 1000, tagged=tagged)]


async def only(store: RegistryStore) -> ImageRecord:
    (image,) = await store.images(REPOSITORY, "", 10)
    return image


# --- records ----------------------------------------------------------------------------------------------------------


async def test_an_image_has_what_its_manifest_says_and_its_tags_in_order(store: RegistryStore) -> None:
    before = time.time()
    record = manifest("one", artifact_type="application/vnd.sbom", subject=SUBJECT)
    tags = TagWrite((pushed("v2", "one"), pushed("latest", "one"), pushed("V1", "one")))
    await store.push(REPOSITORY, ManifestPush(record, (BASE, MIDDLE), tags=tags), None)
    image = await only(store)

    assert before <= image.pushed_at <= time.time()
    assert image == ImageRecord(
        digest=record.digest,
        media_type=OCI_MANIFEST,
        size=record.size,
        content_size=120,
        pushed_at=image.pushed_at,
        tags=(Tag("V1"), Tag("latest"), Tag("v2")),
        artifact_type="application/vnd.sbom",
        subject=SUBJECT,
    )


async def test_content_that_an_image_names_twice_counts_once(store: RegistryStore) -> None:
    await push_image(store, "one", BASE, MIDDLE, MIDDLE, BASE)

    assert (await only(store)).content_size == 120


async def test_an_image_without_content_has_none(store: RegistryStore) -> None:
    await push_image(store, "one")

    assert (await only(store)).content_size == 0


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
async def test_an_index_has_the_size_of_its_largest_image_that_is_here(store: RegistryStore, media_type: str) -> None:
    await push_image(store, "small", TOP)
    await push_image(store, "large", BASE, MIDDLE)
    await push_image(store, "other", BASE, MIDDLE, TOP)
    digest = await push_index(store, "index", "small", "large", "not here", media_type=media_type)
    (index,) = await store.images_named(REPOSITORY, [digest], [])

    assert index.content_size == 120


async def test_an_index_of_which_no_image_is_here_has_no_size(store: RegistryStore) -> None:
    await push_index(store, "index", "elsewhere")

    assert (await only(store)).content_size == 0


async def test_a_manifest_from_two_sources_is_one_image_of_its_first_push_and_last_pull(store: RegistryStore) -> None:
    record = tag(digest=digest_of("one"))
    await remember(store, manifest("one"), BASE, MIDDLE, provenance=HUB, tag=record)
    first = await only(store)
    await store.note_pulls([PullNote(REPOSITORY, digest_of("one"), 50.0)])
    for provenance in (QUAY, HUB_ANONYMOUS, None):
        await remember(store, manifest("one"), BASE, MIDDLE, provenance=provenance, tag=record)
    image = await only(store)

    assert (image.pushed_at, image.pulled_at, image.content_size) == (first.pushed_at, 50.0, 120)
    assert image.tags == (Tag("latest"),)


async def test_images_of_other_repositories_are_not_listed(store: RegistryStore) -> None:
    # The same account's content from the same source may be served here, but it is not of this repository.
    await remember(store, manifest("one"), repository=OTHER, provenance=HUB, tag=tag())
    await remember(store, manifest("two"), provenance=HUB)

    assert await listed(store) == [digest_of("two")]
    assert (await only(store)).tags == ()
    assert await store.images_named(REPOSITORY, [digest_of("one")], [Tag("latest")]) == []


async def test_a_repository_that_is_not_there_has_no_images(metadata: RegistryStore) -> None:
    assert await metadata.images(OTHER, "", 10) == []
    assert await metadata.images(OTHER, "", 10, tagged=True) == []
    assert await metadata.images_named(OTHER, [BLOB], [Tag("latest")]) == []
    assert await metadata.parents(OTHER, [BLOB]) == {}
    assert await metadata.remove_images(OTHER, [BLOB]) == []
    assert await metadata.remove_tag(OTHER, Tag("latest"), None) is None
    await metadata.note_pulls([PullNote(OTHER, BLOB, 1.0)])
    assert await metadata.has_repository(OTHER) is False


# --- times ------------------------------------------------------------------------------------------------------------


async def test_a_repeated_push_leaves_when_it_was_pushed_and_pulled(store: RegistryStore) -> None:
    digest = await push_image(store, "one", tags=["latest"])
    await store.note_pulls([PullNote(REPOSITORY, digest, 70.0)])
    first = await only(store)
    await push_image(store, "one", tags=["latest"])
    await remember(store, manifest("one"), provenance=HUB)

    assert await only(store) == first


@pytest.mark.parametrize("by", ["delete_manifest", "remove_images", "remove_tag"])
async def test_an_image_that_was_deleted_and_pushed_again_is_new(store: RegistryStore, by: str) -> None:
    digest = await push_image(store, "one", tags=["latest"])
    await store.note_pulls([PullNote(REPOSITORY, digest, 70.0)])
    first = await only(store)
    if by == "delete_manifest":
        await store.delete_manifest(REPOSITORY, digest)
    elif by == "remove_images":
        await store.remove_images(REPOSITORY, [digest])
    else:
        await store.remove_tag(REPOSITORY, Tag("latest"), None)
    await push_image(store, "one", tags=["latest"])
    again = await only(store)

    assert again.pushed_at > first.pushed_at
    assert again.pulled_at is None


async def test_the_last_pull_is_kept_whatever_the_order_of_notes(store: RegistryStore) -> None:
    one, two = await push_image(store, "one"), await push_image(store, "two")
    await store.note_pulls([PullNote(REPOSITORY, one, 30.0), PullNote(REPOSITORY, one, 10.0)])
    await store.note_pulls([PullNote(REPOSITORY, one, 20.0), PullNote(REPOSITORY, BLOB, 20.0)])
    await store.note_pulls([])

    pulled = {image.digest: image.pulled_at for image in await store.images(REPOSITORY, "", 10)}
    assert pulled == {one: 30.0, two: None}


async def test_a_pull_that_is_noted_before_the_image_is_here_says_nothing_of_it(store: RegistryStore) -> None:
    await store.note_pulls([PullNote(REPOSITORY, digest_of("one"), 30.0), PullNote(OTHER, digest_of("one"), 30.0)])
    await push_image(store, "one")

    assert (await only(store)).pulled_at is None


# --- pages ------------------------------------------------------------------------------------------------------------


PROVENANCES: tuple[Provenance | None, ...] = (None, HUB, QUAY)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("tagged", [None, True, False])
async def test_pages_hold_every_image_once_in_order(store: RegistryStore, limit: int, tagged: bool | None) -> None:  # noqa: FBT001 - a parameter of the test
    texts = [f"image {number}" for number in range(20)]
    for number, text in enumerate(texts):
        # From one source after the other, some from all of them; every other has tags.
        sources = PROVENANCES if number % 5 == 0 else (PROVENANCES[number % 3],)
        for provenance in sources:
            await remember(store, manifest(text), provenance=provenance)
        for name in [f"{number}-{each}" for each in range(number % 2 * 3)]:
            await store.push(REPOSITORY, push_of(text, name), None)
    expected = [text for number, text in enumerate(texts) if tagged in {None, bool(number % 2)}]

    found: list[Digest] = []
    while page := await store.images(REPOSITORY, str(found[-1]) if found else "", limit, tagged=tagged):
        assert len(page) <= limit
        found += [image.digest for image in page]

    assert found == in_order(*expected)


async def test_a_page_begins_after_a_digest_that_need_not_be_there(store: RegistryStore) -> None:
    await push_image(store, "one", tags=["a"])
    await push_image(store, "two", tags=["b"])
    first, second = in_order("one", "two")

    for tagged in (None, True):
        after = f"{str(first)[:-1]}~"
        assert [image.digest for image in await store.images(REPOSITORY, after, 5, tagged=tagged)] == [second]
        assert await store.images(REPOSITORY, "sha256:~", 5, tagged=tagged) == []
        assert await store.images(REPOSITORY, "", 0, tagged=tagged) == []


async def test_a_tag_without_its_manifest_is_no_image(store: RegistryStore) -> None:
    for number in range(5):
        digest = await push_image(store, f"{number}", tags=[f"v{number}"])
        if number != 3:
            await store.push(REPOSITORY, push_of("other", f"v{number}"), None)
            await store.remove_images(REPOSITORY, [digest])

    assert await listed(store, tagged=True) == in_order("other", "3")


async def test_images_are_named_by_digest_and_by_tag(store: RegistryStore) -> None:
    one = await push_image(store, "one", tags=["a", "b"])
    two = await push_image(store, "two", tags=["c"])
    await push_image(store, "three", tags=["d"])

    for digests, tags, expected in (
        ([one], ["a", "b"], {one}),
        ([one, BLOB], ["c", "nothing"], {one, two}),
        ([], ["c"], {two}),
        ([], [], set()),
    ):
        found = await store.images_named(REPOSITORY, digests, list(map(Tag, tags)))
        assert [image.digest for image in found] == sorted(expected, key=str)
        assert all(len(image.tags) == (2 if image.digest == one else 1) for image in found)


async def test_more_are_named_at_once_than_fit_into_a_statement(store: RegistryStore) -> None:
    texts = [str(number) for number in range(1_100)]
    for text in texts[:3]:
        await push_image(store, text, BASE, tags=[f"t{text}"])
    digests, tags = list(map(digest_of, texts)), [Tag(f"t{text}") for text in texts]

    assert [image.digest for image in await store.images_named(REPOSITORY, digests, tags)] == in_order(*texts[:3])
    assert await store.parents(REPOSITORY, [*digests, LAYERS[0]]) == {LAYERS[0]: set(digests[:3])}
    assert await store.remove_images(REPOSITORY, digests) == digests[:3]


# --- removal ----------------------------------------------------------------------------------------------------------


async def test_a_tag_goes_alone_while_others_are_on_its_image(store: RegistryStore) -> None:
    digest = await push_image(store, "one", tags=["a", "b"])

    assert await store.remove_tag(REPOSITORY, Tag("a"), None) == digest
    assert (await only(store)).tags == (Tag("b"),)
    assert await store.tag(REPOSITORY, Tag("a")) is None


async def test_the_last_tag_takes_its_image_along_from_wherever_it_came(store: RegistryStore) -> None:
    digest = await push_image(store, "one", BASE, tags=["a"])
    await remember(store, manifest("one"), BASE, provenance=HUB)

    assert await store.remove_tag(REPOSITORY, Tag("a"), digest) == digest
    assert await listed(store) == []
    assert await store.descriptor(REPOSITORY, LAYERS[0], None) is None


async def test_a_tag_on_another_image_stays(store: RegistryStore) -> None:
    await push_image(store, "one", tags=["a"])

    assert await store.remove_tag(REPOSITORY, Tag("a"), digest_of("two")) is None
    assert await store.remove_tag(REPOSITORY, Tag("b"), None) is None
    assert (await only(store)).tags == (Tag("a"),)


async def test_an_image_of_an_index_stays_when_its_last_tag_goes(store: RegistryStore) -> None:
    image = await push_image(store, "one", tags=["a"])
    index = await push_index(store, "index", "one", tags=["latest"])

    assert await store.remove_tag(REPOSITORY, Tag("a"), None) == image
    assert set(await listed(store)) == {image, index}
    assert await listed(store, tagged=False) == [image]


async def test_the_images_of_an_index_stay_when_it_goes(store: RegistryStore) -> None:
    image = await push_image(store, "one")
    await push_index(store, "index", "one", tags=["latest"])
    await store.remove_tag(REPOSITORY, Tag("latest"), None)

    assert await listed(store) == [image]
    assert await store.parents(REPOSITORY, [image]) == {}


async def test_an_image_goes_with_all_its_tags(store: RegistryStore) -> None:
    digest = await push_image(store, "one", tags=["a", "b"])
    await push_image(store, "two", tags=["c"])

    assert await store.remove_images(REPOSITORY, [digest, digest, BLOB]) == [digest]
    assert await store.tags(REPOSITORY, None, "", 10) == ["c"]
    assert await store.remove_images(REPOSITORY, [digest]) == []


async def test_an_image_that_a_remaining_index_names_stays(store: RegistryStore) -> None:
    image = await push_image(store, "one", tags=["a"])
    index = await push_index(store, "index", "one")

    assert await store.parents(REPOSITORY, [image, index]) == {image: {index}}
    assert await store.remove_images(REPOSITORY, [image]) == []
    assert set(await listed(store)) == {image, index}
    assert await store.tag(REPOSITORY, Tag("a")) is not None


async def test_an_index_goes_together_with_its_images_but_those_that_another_names(store: RegistryStore) -> None:
    one, two = await push_image(store, "one"), await push_image(store, "two")
    index = await push_index(store, "index", "one", "two")
    other = await push_index(store, "other", "two")
    upper = await push_index(store, "upper", "index")

    assert await store.remove_images(REPOSITORY, [one, two, index]) == []  # all hang on the upper index
    assert await store.remove_images(REPOSITORY, [one, two, index, upper]) == [one, index, upper]
    assert set(await listed(store)) == {two, other}


async def test_an_index_of_another_repository_keeps_nothing(store: RegistryStore) -> None:
    image = await push_image(store, "one")
    child = Descriptor(OCI_MANIFEST, image, 1)
    await remember(store, manifest("index", media_type=OCI_INDEX), child, repository=OTHER, provenance=HUB)

    assert await store.parents(REPOSITORY, [image]) == {}
    assert await store.remove_images(REPOSITORY, [image]) == [image]


async def test_what_is_removed_here_stays_elsewhere(store: RegistryStore) -> None:
    digest = await push_image(store, "one", tags=["a"])
    await remember(store, manifest("one"), repository=OTHER, provenance=HUB, tag=tag("a", digest=digest))
    await store.remove_images(REPOSITORY, [digest])

    assert [image.tags for image in await store.images(OTHER, "", 10)] == [(Tag("a"),)]
