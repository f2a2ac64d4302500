"""Which bytes of an upload are hashed as they come, and which are read again, is told by the calls that read."""

import os
import time
import tracemalloc
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from proxy.core.ports import DigestMismatchError
from proxy.model.digest import Digest
from proxy.storage.layout import Layout
from proxy.storage.threads import Threads
from proxy.storage.uploads import FilesystemUploadStore
from proxy.storage.uploads.hashing import HashStates, fresh_hasher
from tests.support.uploads import Calls, append, begun, commit

MIB = 1 << 20


@pytest.fixture
def store(layout: Layout, threads: Threads) -> FilesystemUploadStore:
    return FilesystemUploadStore(layout, threads)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Tell whether uploads are read again."""
    calls = Calls()
    monkeypatch.setattr(os, "preadv", calls.note("read", os.preadv))
    return calls


async def test_bytes_of_one_process_are_never_read_again(store: FilesystemUploadStore, reads: Calls) -> None:
    upload = await begun(store, b"one ")
    await append(store, upload, b"two ")
    async with store.open(upload):
        pass  # asking does not cost the state either
    await append(store, upload, b"three")
    await commit(store, upload, Digest.of(b"one two three"))

    assert reads == []


@pytest.mark.parametrize("length", [10, MIB, 5 * MIB // 2], ids=["one piece", "full piece", "pieces"])
async def test_bytes_of_another_process_are_read_once(
    store: FilesystemUploadStore, layout: Layout, threads: Threads, reads: Calls, length: int
) -> None:
    data = os.urandom(length)
    upload = await begun(store, data)
    other = FilesystemUploadStore(layout, threads)
    await append(other, upload, b"more")
    assert reads == []
    await commit(other, upload, Digest.of(data + b"more"))

    assert len(reads) == -(-(length + 4) // MIB) + 1


async def test_another_algorithm_than_expected_reads_the_bytes(store: FilesystemUploadStore, reads: Calls) -> None:
    await commit(store, await begun(store, b"data", "sha512"), Digest.of(b"data", "sha512"))
    assert reads == []
    await commit(store, await begun(store, b"data"), Digest.of(b"data", "sha512"))
    assert reads != []


async def test_a_cut_reads_what_is_left(store: FilesystemUploadStore, reads: Calls) -> None:
    upload = await begun(store, b"one two")
    async with store.open(upload) as opened:
        await opened.truncate(4)
        await opened.append(b"three")
        await opened.commit(Digest.of(b"one three"))

    assert reads != []


async def test_a_cut_to_nothing_begins_anew(store: FilesystemUploadStore, reads: Calls) -> None:
    upload = await begun(store, b"one two")
    async with store.open(upload) as opened:
        await opened.truncate(0)
        await opened.append(b"three")
    await commit(store, upload, Digest.of(b"three"))

    assert reads == []


async def test_as_many_other_bytes_of_another_process_are_noticed(
    store: FilesystemUploadStore, layout: Layout, threads: Threads
) -> None:
    upload = await begun(store, b"mine")
    async with FilesystemUploadStore(layout, threads).open(upload) as opened:
        await opened.truncate(2)
        await opened.append(b"ne")
        await opened.truncate(0)
        await opened.append(b"your")
    with pytest.raises(DigestMismatchError, match=str(Digest.of(b"your"))):
        await commit(store, upload, Digest.of(b"mine"))


async def test_as_many_other_bytes_of_a_process_that_died_are_noticed(
    store: FilesystemUploadStore, layout: Layout
) -> None:
    upload = await begun(store, b"mine")
    with layout.session_part(UUID(upload)).open("r+b") as part:
        part.write(b"your")
    await commit(store, upload, Digest.of(b"your"))


async def test_what_a_request_leaves_has_a_stamp_finer_than_the_clock_by_which_the_kernel_stamps(
    store: FilesystemUploadStore, layout: Layout
) -> None:
    # Many kernels stamp with the time of their last tick, milliseconds ago: two writers would leave the same stamp.
    upload = await begun(store)
    for _ in range(50):
        before = time.time_ns()
        await append(store, upload, b"x")

        assert layout.session_part(UUID(upload)).stat().st_mtime_ns >= before


async def test_bytes_that_somebody_adds_meanwhile_are_noticed(store: FilesystemUploadStore, layout: Layout) -> None:
    upload = await begun(store, b"mine")
    async with store.open(upload) as opened:
        with layout.session_part(UUID(upload)).open("ab") as part:
            part.write(b" and yours")
        with pytest.raises(DigestMismatchError):
            await opened.commit(Digest.of(b"mine"))


async def test_bytes_that_somebody_adds_meanwhile_are_hashed_by_the_next_request(
    store: FilesystemUploadStore, layout: Layout
) -> None:
    upload = await begun(store, b"mine")
    async with store.open(upload):
        with layout.session_part(UUID(upload)).open("ab") as part:
            part.write(b" and yours")
    await commit(store, upload, Digest.of(b"mine and yours"))


async def test_reading_again_needs_little_memory(
    store: FilesystemUploadStore, layout: Layout, threads: Threads
) -> None:
    data = bytes(32 * MIB)
    upload, digest = await begun(store, data), Digest.of(data)
    del data
    tracemalloc.start()
    try:
        await commit(FilesystemUploadStore(layout, threads), upload, digest)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    found = tmp_path.stat()
    states = HashStates(2)
    uploads = [uuid4() for _ in range(3)]
    for upload in uploads:
        states.keep(upload, fresh_hasher("sha256"), found)

    assert [states.take(upload, found) is not None for upload in uploads] == [False, True, True]
    assert [states.take(upload, found) for upload in uploads] == [None] * 3
