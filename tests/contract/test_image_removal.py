"""The contract of removing images that stayed as they were, over every metadata store."""

from dataclasses import replace

import pytest

from proxy.core.ports import ManifestPush, RepositoryRecord, TagWrite
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import ImageRecord, PullNote
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag
from tests.support.metadata import HUB, OTHER, QUAY, REPOSITORY, manifest, push_of, pushed, remember

A, B, C = (Digest.of(text.encode()) for text in "ABC")


def descriptor(digest: Digest) -> Descriptor:
    return Descriptor(OCI_MANIFEST, digest, 1)


@pytest.fixture
async def store(metadata: RegistryStore) -> RegistryStore:
    """A store with the images A (tags: one, two) and B (none) in one repository."""
    await metadata.create_repository(RepositoryRecord(REPOSITORY, 1.5))
    await metadata.push(REPOSITORY, push_of("A", "one", "two"), None)
    await metadata.push(REPOSITORY, push_of("B"), None)
    return metadata


async def push_index(store: RegistryStore, text: str, *children: Digest) -> None:
    await store.push(REPOSITORY, ManifestPush(manifest(text), children=tuple(map(descriptor, children))), None)


async def images(store: RegistryStore) -> list[ImageRecord]:
    return await store.images(REPOSITORY, "", 100)


async def left(store: RegistryStore) -> set[Digest]:
    return {image.digest for image in await images(store)}


async def test_images_that_are_as_they_were_go_with_their_tags(store: RegistryStore) -> None:
    found = await images(store)

    removed = await store.remove_unchanged(REPOSITORY, found)

    assert removed == [image.digest for image in found]
    assert await images(store) == []
    assert await store.tag(REPOSITORY, Tag("one")) is None


async def test_an_image_with_another_tag_stays(store: RegistryStore) -> None:
    found = await images(store)
    await store.push(REPOSITORY, push_of("B", "rescued"), None)

    assert await store.remove_unchanged(REPOSITORY, found) == [A]
    assert await left(store) == {B}


async def test_an_image_that_lost_a_tag_stays(store: RegistryStore) -> None:
    found = await images(store)
    await store.push(REPOSITORY, ManifestPush(manifest("C"), tags=TagWrite((pushed("two", "C"),))), None)

    assert await store.remove_unchanged(REPOSITORY, found) == [B]
    assert await left(store) == {A, C}


async def test_an_image_that_was_pulled_stays(store: RegistryStore) -> None:
    found = await images(store)
    await store.note_pulls([PullNote(REPOSITORY, A, 1_800_000_000.0)])

    assert await store.remove_unchanged(REPOSITORY, found) == [B]
    assert await left(store) == {A}


async def test_an_image_that_an_index_names_stays(store: RegistryStore) -> None:
    found = await images(store)
    await push_index(store, "C", B)

    assert await store.remove_unchanged(REPOSITORY, found) == [A]
    assert await left(store) == {B, C}


async def test_what_was_never_there_or_is_elsewhere_is_not_removed(store: RegistryStore) -> None:
    await remember(store, manifest("A"), repository=OTHER)
    found = await images(store)

    assert await store.remove_unchanged(REPOSITORY, [replace(found[0], digest=C)]) == []
    assert await store.remove_unchanged(REPOSITORY, []) == []
    await store.remove_unchanged(REPOSITORY, found)
    assert [image.digest for image in await store.images(OTHER, "", 100)] == [A]


async def test_an_image_from_two_sources_goes_whole(store: RegistryStore) -> None:
    await remember(store, manifest("C"), provenance=HUB)
    await remember(store, manifest("C"), provenance=QUAY)
    found = [image for image in await images(store) if image.digest == C]

    assert await store.remove_unchanged(REPOSITORY, found) == [C]
    assert await left(store) == {A, B}


async def test_the_parents_of_an_image_are_the_manifests_here_that_name_it(store: RegistryStore) -> None:
    await push_index(store, "C", A, B)
    await push_index(store, "D", A)
    await remember(store, manifest("E"), descriptor(B), repository=OTHER)

    d = Digest.of(b"D")
    assert await store.parents(REPOSITORY, [A, B, C, d]) == {A: {C, d}, B: {C}}
    assert await store.parents(REPOSITORY, [B]) == {B: {C}}
    assert await store.parents(REPOSITORY, []) == {}


async def test_a_manifest_from_two_sources_is_one_parent(store: RegistryStore) -> None:
    await remember(store, manifest("C"), descriptor(A), provenance=HUB)
    await remember(store, manifest("C"), descriptor(A), provenance=QUAY)

    assert await store.parents(REPOSITORY, [A]) == {A: {C}}
