"""Pushes to one immutable tag from everywhere at once: one wins, and all others are told which."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from proxy.core.ports import RepositoryRecord, TagKeptError
from proxy.model.reference import Tag
from proxy.storage.metadata import SqlMetadataStore
from tests.integration import pushes_worker
from tests.support.metadata import REPOSITORY, manifest, push_of, pushed

TEXTS = [f"manifest {number}" for number in range(200)]
TAG = Tag("v1")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with the repository in it."""
    store = await SqlMetadataStore.open(tmp_path / "m.sqlite")
    await store.create_repository(RepositoryRecord(REPOSITORY, 1.0))
    await store.close()
    return tmp_path / "m.sqlite"


async def held(path: Path) -> list[str]:
    """Return which of the manifests the repository holds; the tag must be one of them."""
    store = await SqlMetadataStore.open(path)
    found = [text for text in TEXTS if await store.manifest(REPOSITORY, manifest(text).digest, None) is not None]
    assert await store.tag(REPOSITORY, TAG) in [pushed(TAG, text) for text in found]
    await store.close()
    return found


async def test_of_pushes_through_two_stores_on_one_file_exactly_one_wins(path: Path) -> None:
    stores = [await SqlMetadataStore.open(path) for _ in range(2)]
    pushes = [
        stores[number % 2].push(REPOSITORY, push_of(text, TAG, write=pushes_worker.KEPT), None)
        for number, text in enumerate(TEXTS)
    ]
    ended = await asyncio.gather(*pushes, return_exceptions=True)
    for store in stores:
        await store.close()

    (winner,) = [text for text, end in zip(TEXTS, ended, strict=True) if end is None]
    told = {end.record if isinstance(end, TagKeptError) else end for end in ended if end is not None}
    assert told == {pushed(TAG, winner)}
    assert await held(path) == [winner]


async def start(path: Path, texts: list[str]) -> Process:
    command = (sys.executable, "-m", pushes_worker.__name__, str(path), TAG, *texts)
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def test_of_pushes_from_several_processes_exactly_one_wins(path: Path) -> None:
    workers = [await start(path, TEXTS[number::4]) for number in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n", (await worker.communicate())[1].decode()
    ended = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))

    assert [errors.decode() for _, errors in ended if errors] == []
    reports = [json.loads(output) for output, _ in ended]
    (winner,) = [text for report in reports for text in report["won"]]
    assert {digest for report in reports for digest in report["kept"]} == {str(manifest(winner).digest)}
    assert await held(path) == [winner]
