"""What the file store promises beyond the port: files, modes, two processes, devices in trouble."""

import asyncio
import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.ports import DigestMismatchError, StorageFullError
from proxy.model.digest import Digest
from proxy.storage.blobs import FilesystemBlobStore
from proxy.storage.blobs.filesystem import SEGMENT
from proxy.storage.errors import StoreUnusableError
from proxy.storage.layout import Layout
from proxy.storage.threads import Threads
from tests.support.limits import largest_file
from tests.support.processes import open_descriptors

MIB = 1 << 20


@pytest.fixture
async def store(layout: Layout, threads: Threads) -> FilesystemBlobStore:
    opened = FilesystemBlobStore(layout, threads)
    await opened.prepare()
    return opened


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


async def keep(store: FilesystemBlobStore, data: bytes) -> Digest:
    digest = Digest.of(data)
    async with store.writer(digest) as writer:
        await writer.write(data)
        await writer.commit()
    return digest


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


async def test_who_reads_does_not_wait_for_who_writes(layout: Layout, threads: Threads) -> None:
    writers = Threads("writers", 1)
    store = FilesystemBlobStore(layout, threads, writers)
    await store.prepare()
    stored, more = await keep(store, b"data"), Digest.of(b"more")
    device = threading.Event()  # one that is slow to take what is written
    async with asyncio.TaskGroup() as group:
        held_up = group.create_task(writers.run(device.wait))
        pushed = group.create_task(keep(store, b"more"))
        await asyncio.sleep(0)
        try:
            reader = await store.open(stored)
            assert reader is not None
            reader.close()
            assert await store.stat(more) is None
            assert not pushed.done()
        finally:
            device.set()
    assert held_up.result()
    assert await store.stat(more) == 4
    writers.close()


async def test_a_blob_is_one_read_only_file_under_its_digest(store: FilesystemBlobStore, layout: Layout) -> None:
    digest = await keep(store, b"data")

    assert files(layout.root) == [layout.blob(digest)]
    assert layout.blob(digest).read_bytes() == b"data"
    assert layout.blob(digest).stat().st_mode & 0o777 == 0o440


async def test_bytes_on_their_way_are_in_uploads_only(store: FilesystemBlobStore, layout: Layout) -> None:
    first = bytes(SEGMENT + 1)  # more than is held back to be written at once
    async with store.writer(Digest.of(b"data")) as writer:
        assert files(layout.root) == []
        await writer.write(first)
        assert [path.parent for path in files(layout.root)] == [layout.uploads]
        await writer.write(b"xx")
        with pytest.raises(DigestMismatchError, match=str(Digest.of(first + b"xx"))):
            await writer.commit()
        assert files(layout.root) == []


async def test_a_small_blob_is_in_its_place_or_nowhere(store: FilesystemBlobStore, layout: Layout) -> None:
    digest = Digest.of(b"data")
    async with store.writer(digest) as writer:
        await writer.write(b"da")
        await writer.write(b"ta")
        assert files(layout.root) == []
        await writer.commit()
    assert files(layout.root) == [layout.blob(digest)]


async def test_a_writer_takes_nothing_after_its_end(store: FilesystemBlobStore, layout: Layout) -> None:
    async with store.writer(Digest.of(b"data")) as writer:
        await writer.write(b"da")
    with pytest.raises(ValueError, match="this writer is finished"):
        await writer.write(b"ta")
    assert files(layout.root) == []


async def test_folders_removed_under_a_running_server_are_made_again(
    store: FilesystemBlobStore, layout: Layout
) -> None:
    await keep(store, b"data")
    shutil.rmtree(layout.blobs)
    digest = await keep(store, b"data")

    assert await store.stat(digest) == 4


async def test_prepare_keeps_what_is_stored(store: FilesystemBlobStore, layout: Layout, threads: Threads) -> None:
    digest = await keep(store, b"data")
    again = FilesystemBlobStore(layout, threads)
    await again.prepare()

    assert await again.stat(digest) == 4


async def test_a_start_leaves_the_uploads_of_living_writers_alone(
    store: FilesystemBlobStore, layout: Layout, threads: Threads
) -> None:
    data = bytes(SEGMENT + 1)
    digest = Digest.of(data)
    async with store.writer(digest) as writer:
        await writer.write(data)
        os.utime(files(layout.uploads)[0], (0, 0))  # age says nothing
        await FilesystemBlobStore(layout, threads).prepare()
        await writer.commit()

    assert await store.stat(digest) == len(data)


async def test_a_start_removes_the_uploads_of_dead_writers(layout: Layout, threads: Threads) -> None:
    program = f"""
import os, signal
from pathlib import Path
from proxy.model.digest import Digest
from proxy.storage.blobs.folders import DurableFolders
from proxy.storage.blobs.upload import Upload
from proxy.storage.layout import Layout
layout = Layout(Path({str(layout.root)!r}))
layout.uploads.mkdir(parents=True)
Upload(layout, DurableFolders(layout.root), Digest.of(b"data")).append(b"da")
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(files(layout.uploads)) == 1
    await FilesystemBlobStore(layout, threads).prepare()

    assert files(layout.root) == []


async def test_two_stores_on_one_folder_commit_the_same_digest(
    store: FilesystemBlobStore, layout: Layout, threads: Threads
) -> None:
    other = FilesystemBlobStore(layout, threads)
    data = b"data" * MIB
    digests = await asyncio.gather(*(keep(one, data) for one in (store, other) * 3))

    assert files(layout.root) == [layout.blob(digests[0])]
    assert await store.stat(digests[0]) == len(data)


async def test_a_scan_passes_over_what_is_not_a_blob(store: FilesystemBlobStore, layout: Layout) -> None:
    digest = await keep(store, b"data")
    shard = layout.blob(digest).parent
    elsewhere = layout.blobs / "sha256" / "zz"
    strange = [
        layout.blobs / "README",
        layout.blobs / "sha256" / "README",
        layout.blobs / "md5" / "ab" / ("ab" * 16),
        shard / "README",
        shard / digest.encoded.upper(),
        shard / f"{digest.encoded}.tmp",
        elsewhere / digest.encoded,
    ]
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"strange")
    other = Digest.of(b"other")
    layout.blob(other).parent.mkdir(parents=True)
    layout.blob(other).symlink_to(layout.blob(digest))

    assert [found async for found in store.scan()] == [(digest, 4)]
    assert await store.stat(other) is None


async def test_a_device_without_room_is_told_and_nothing_stays(store: FilesystemBlobStore, layout: Layout) -> None:
    digest = Digest.of(b"x" * 4 * MIB)
    async with store.writer(digest) as writer:
        await writer.write(b"x" * MIB)
        with largest_file(2 * MIB), pytest.raises(StorageFullError, match=str(layout.uploads)):
            await writer.write(b"x" * 3 * MIB)
        assert files(layout.root) == []  # the room is given back before the context is left
        with pytest.raises(ValueError, match="finished"):
            await writer.commit()

    assert await store.stat(digest) is None
    assert await keep(store, b"x" * 4 * MIB) == digest


@pytest.mark.parametrize("place", ["store", "store/blobs", "store/uploads"])
async def test_a_file_in_the_place_of_a_folder_is_refused_in_a_sentence(
    layout: Layout, threads: Threads, place: str
) -> None:
    path = layout.root.parent / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")

    with pytest.raises(StoreUnusableError, match=rf"^The store at {layout.root} cannot be used \(.*\.$"):
        await FilesystemBlobStore(layout, threads).prepare()


async def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence(threads: Threads) -> None:
    # Not even root makes folders in /proc.
    with pytest.raises(StoreUnusableError, match=r"^The store at /proc/store cannot be used \(.*\.$"):
        await FilesystemBlobStore(Layout(Path("/proc/store")), threads).prepare()


async def test_two_file_systems_in_one_store_are_refused_in_a_sentence(
    layout: Layout, threads: Threads, memory_folder: Path
) -> None:
    layout.root.mkdir()
    layout.uploads.symlink_to(memory_folder)

    with pytest.raises(StoreUnusableError, match=r"different file systems: mount one file system at"):
        await FilesystemBlobStore(layout, threads).prepare()
    assert files(memory_folder) == []


async def test_bytes_in_memory_are_read_without_a_thread(memory_folder: Path) -> None:
    threads = Threads("blobs", 1)
    store = FilesystemBlobStore(Layout(memory_folder), threads)
    await store.prepare()
    data = os.urandom(600_000)
    reader = await store.open(await keep(store, data))
    assert reader is not None
    await asyncio.to_thread(threads.close)
    read = b""
    while part := await reader.read(len(read), MIB):
        read += part
    reader.close()

    assert read == data


async def test_bytes_that_are_only_on_the_device_are_read_too(store: FilesystemBlobStore, layout: Layout) -> None:
    data = os.urandom(600_000)
    digest = await keep(store, data)
    descriptor = os.open(layout.blob(digest), os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    reader = await store.open(digest)
    assert reader is not None
    read = b""
    while part := await reader.read(len(read), MIB):
        read += part
    reader.close()

    assert read == data


async def test_the_file_tells_what_is_only_on_the_device(store: FilesystemBlobStore, layout: Layout) -> None:
    data = os.urandom(3 * MIB)
    digest = await keep(store, data)
    reader = await store.open(digest)
    assert reader is not None
    file = reader.file()
    assert file is not None
    await file.fetch(0, len(data))
    assert file.at_hand(0, len(data))
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if os.major(layout.root.stat().st_dev):  # elsewhere it may be in memory for good
        assert not file.at_hand(0, len(data))
    await file.fetch(MIB, MIB)
    assert file.at_hand(MIB, MIB)
    reader.close()


async def test_a_file_in_memory_is_at_hand_without_a_thread(memory_folder: Path) -> None:
    threads = Threads("blobs", 1)
    store = FilesystemBlobStore(Layout(memory_folder), threads)
    await store.prepare()
    reader = await store.open(await keep(store, b"data"))
    await asyncio.to_thread(threads.close)
    assert reader is not None
    file = reader.file()
    assert file is not None
    assert file.at_hand(0, 4)
    reader.close()


async def test_where_the_file_system_cannot_tell_there_is_no_file_to_send(
    store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, buffers: object, position: int, flags: int = 0) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported", str((descriptor, buffers, position, flags)))

    reader = await store.open(await keep(store, b"data"))
    assert reader is not None
    file = reader.file()
    assert file is not None
    monkeypatch.setattr(os, "preadv", refuse)
    assert not file.at_hand(0, 4)
    assert reader.file() is None
    assert await reader.read(0, 4) == b"data"
    reader.close()


async def test_a_file_cut_short_under_a_reader_is_an_error(store: FilesystemBlobStore, layout: Layout) -> None:
    digest = await keep(store, b"data")
    reader = await store.open(digest)
    assert reader is not None
    os.truncate(layout.blob(digest), 2)

    assert await reader.read(0, 4) == b"da"
    with pytest.raises(OSError, match="shorter"):
        await reader.read(2, 2)
    reader.close()


async def test_no_descriptor_stays_open(layout: Layout) -> None:
    threads = Threads("blobs", 2)
    store = FilesystemBlobStore(layout, threads)
    await store.prepare()
    digest = await keep(store, b"data")
    before = open_descriptors()
    for number in range(10):
        await keep(store, b"%d" % number)
        async with store.writer(Digest.of(b"left")) as writer:
            await writer.write(b"left")
        async with store.writer(Digest.of(b"wrong")) as writer:
            await writer.write(b"data")
            with pytest.raises(DigestMismatchError):
                await writer.commit()
        reader = await store.open(digest)
        assert reader is not None
        reader.close()
        del reader

    async with asyncio.TaskGroup() as group:
        opening = [group.create_task(store.open(digest)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in opening:
            task.cancel()
    await asyncio.to_thread(threads.close)
    gc.collect()

    assert open_descriptors() == before


async def test_leaving_while_a_write_runs_leaves_no_file(layout: Layout) -> None:
    threads = Threads("blobs", 2)
    store = FilesystemBlobStore(layout, threads)
    await store.prepare()

    async def write() -> None:
        async with store.writer(Digest.of(b"never")) as writer:
            await writer.write(bytes(4 * MIB))
            raise AssertionError("cancelled while it waits")

    async with asyncio.TaskGroup() as group:
        writing = [group.create_task(write()) for _ in range(8)]
        await asyncio.sleep(0)
        for task in writing:
            task.cancel()
    await asyncio.to_thread(threads.close)

    assert all(task.cancelled() for task in writing)
    assert files(layout.root) == []
