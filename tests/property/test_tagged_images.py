"""Images by whether they have tags: after whatever was written, the lists of both are the list of all, divided."""

import asyncio
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.ports import RegistryStore
from proxy.model.reference import RepositoryName, Tag
from proxy.storage.metadata import MemoryMetadataStore, SqlMetadataStore
from proxy.storage.metadata.migrate import migrate
from tests.support.metadata import HUB, OTHER, QUAY, REPOSITORY, manifest, push_of, remember, tag

repositories = st.sampled_from([REPOSITORY, OTHER])
texts = st.sampled_from(["one", "two", "three"])
tags = st.sampled_from([Tag("latest"), Tag("v1")])
provenances = st.sampled_from([HUB, QUAY, None])
STEPS = st.one_of(
    st.tuples(st.just("remember"), repositories, texts, st.one_of(tags, st.none()), provenances),
    st.tuples(st.just("push"), repositories, texts, st.one_of(tags, st.none())),
    st.tuples(st.just("delete_tag"), repositories, tags),
    st.tuples(st.just("remove_tag"), repositories, tags),
    st.tuples(st.just("delete_manifest"), repositories, texts),
    st.tuples(st.just("remove_images"), repositories, texts),
    st.tuples(st.just("remove_unchanged"), repositories),
    st.tuples(st.just("delete_repository"), repositories),
)
Step = tuple[str, RepositoryName, *tuple[object, ...]]


async def do(store: RegistryStore, step: Step) -> None:
    match step:
        case "remember", repository, str(text), name, provenance:
            record = manifest(text)
            kept = None if name is None else tag(str(name), digest=record.digest)
            await remember(store, record, repository=repository, provenance=provenance, tag=kept)  # type: ignore[arg-type] # one of those above
        case "push", repository, str(text), name:
            await store.create_repository(RepositoryRecord(repository, 1.0))
            await store.push(repository, push_of(text, *([str(name)] if name else [])), None)
        case "delete_tag", repository, str(name):
            await store.delete_tag(repository, Tag(name))
        case "remove_tag", repository, str(name):
            await store.remove_tag(repository, Tag(name), None)
        case "delete_manifest", repository, str(text):
            await store.delete_manifest(repository, manifest(text).digest)
        case "remove_images", repository, str(text):
            await store.remove_images(repository, [manifest(text).digest])
        case "remove_unchanged", repository:
            await store.remove_unchanged(repository, (await store.images(repository, "", 10))[:1])
        case _:
            await store.delete_repository(step[1])


async def check(store: RegistryStore, steps: list[Step]) -> None:
    for step in steps:
        await do(store, step)
        for repository in (REPOSITORY, OTHER):
            found = await store.images(repository, "", 10)
            assert await store.images(repository, "", 10, tagged=True) == [image for image in found if image.tags]
            assert await store.images(repository, "", 10, tagged=False) == [image for image in found if not image.tags]
    await store.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with nothing in it: to make one takes longer than what is done with it here."""
    path = tmp_path_factory.mktemp("empty") / "m.sqlite"
    migrate(path)
    return path


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEPS, max_size=15))
def test_images_with_tags_and_without_are_all_images(empty: Path, steps: list[Step]) -> None:
    async def run() -> None:
        with TemporaryDirectory() as folder:
            path = await asyncio.to_thread(shutil.copy, empty, folder)
            await check(await SqlMetadataStore.open(Path(path)), steps)
        await check(MemoryMetadataStore(), steps)

    asyncio.run(run())
