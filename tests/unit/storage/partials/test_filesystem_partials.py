"""What only the files show; the rest is the contract of the port."""

import asyncio
import errno
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.fills.ports import Origin, Partial, State
from proxy.core.ports import StorageFullError
from proxy.model.digest import Digest
from proxy.storage.layout import Layout
from proxy.storage.partials import FilesystemPartialStore
from proxy.storage.partials.descriptor import Descriptor
from proxy.storage.partials.filesystem import FilesystemPartial
from proxy.storage.partials.record import Record, Stage, read_boot_id, read_origin, read_record, write_record
from proxy.storage.threads import Threads
from tests.support.background import started
from tests.support.limits import largest_file

DATA = bytes(range(256)) * 20
DIGEST = Digest.of(DATA)
ORIGIN = Origin("hub library/nginx", '"etag"')
BOOT = read_boot_id()


@pytest.fixture
def store(layout: Layout, threads: Threads) -> FilesystemPartialStore:
    return FilesystemPartialStore(layout, threads)


async def left_behind(store: FilesystemPartialStore, size: int = 1000) -> None:
    """Leave what an owner leaves that was killed after `size` bytes."""
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA[:size]])
    owner.close()


def rewrite(layout: Layout, stage: Stage = Stage.FILLING, *, watermark: int = 1000, boot: bytes | None = None) -> None:
    descriptor = os.open(layout.control(DIGEST), os.O_RDWR)
    try:
        write_record(descriptor, Record(stage, len(DATA), watermark, 0, BOOT if boot is None else boot))
    finally:
        os.close(descriptor)


async def taken_over(partial: Partial) -> None:
    """Wait until the lock of whoever has it now is free."""
    while partial.state is not State.OWNED:
        await partial.poll()
        await asyncio.sleep(0)


async def watermark(store: FilesystemPartialStore) -> int:
    partial = await store.open(DIGEST)
    assert partial.state is State.OWNED
    partial.close()
    return partial.watermark


async def test_a_committed_file_is_the_blob_read_only_and_alone(store: FilesystemPartialStore, layout: Layout) -> None:
    owner: Partial = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA])
    inode = layout.part(DIGEST).stat().st_ino
    await owner.commit()
    owner.close()
    blob = layout.blob(DIGEST)
    assert (blob.read_bytes(), blob.stat().st_mode & 0o777, blob.stat().st_ino) == (DATA, 0o440, inode)
    assert [path for path in layout.root.rglob("*") if path.is_file()] == [blob]


async def test_who_reads_does_not_wait_for_owners_who_write(layout: Layout, threads: Threads) -> None:
    writers = Threads("writers", 1)
    store = FilesystemPartialStore(layout, threads, writers)
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA])
    device = threading.Event()  # one that is slow to take what is written
    async with asyncio.TaskGroup() as group:
        held_up = group.create_task(writers.run(device.wait))
        writes = [owner.append([b""]), owner.write_ahead(len(DATA), [b""]), owner.advance(len(DATA)), owner.commit()]
        written = [group.create_task(write) for write in writes]
        other = await store.open(Digest.of(b"other"))
        written += [group.create_task(other.begin(1, ORIGIN)), group.create_task(other.abandon(State.GONE))]
        another = await store.open(Digest.of(b"another"))
        written += [group.create_task(another.store(7, ORIGIN, [b"another"]))]
        await asyncio.sleep(0)
        try:
            follower = await store.open(DIGEST)
            await follower.poll()
            assert await follower.read(0, 10) == DATA[:10]
            assert not any(write.done() for write in written)
        finally:
            device.set()
    assert held_up.result()
    for partial in (owner, other, another, follower):
        partial.close()
    writers.close()


async def test_bytes_of_before_a_reboot_are_not_trusted(store: FilesystemPartialStore, layout: Layout) -> None:
    await left_behind(store)
    rewrite(layout, boot=b"another boot   .")
    assert await watermark(store) == 0


async def test_a_record_that_is_ahead_of_the_file_is_not_trusted(store: FilesystemPartialStore, layout: Layout) -> None:
    await left_behind(store)
    rewrite(layout, watermark=4000)
    assert await watermark(store) == 1000


async def test_bytes_behind_the_record_are_written_again(store: FilesystemPartialStore, layout: Layout) -> None:
    await left_behind(store)
    with layout.part(DIGEST).open("ab") as part:
        part.write(b"?" * 500)  # written by an owner that was killed before it could say so
    heir = await store.open(DIGEST)
    assert heir.watermark == 1000
    await heir.append([DATA[1000:]])
    await heir.commit()
    heir.close()
    assert layout.blob(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 64, b"x" * 200])
async def test_bytes_without_a_sound_record_are_not_trusted(
    store: FilesystemPartialStore, layout: Layout, damage: bytes
) -> None:
    await left_behind(store)
    with layout.part(DIGEST).open("ab") as part:
        part.write(b"?" * 2 * len(DATA))
    layout.control(DIGEST).write_bytes(damage)
    heir = await store.open(DIGEST)
    assert (heir.state, heir.total, heir.watermark) == (State.OWNED, None, 0)
    await heir.begin(len(DATA), ORIGIN)
    await heir.append([DATA])
    await heir.commit()
    heir.close()
    assert layout.blob(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("follows", [True, False])
async def test_bytes_of_an_owner_that_died_while_it_stored_at_once_are_thrown_away(
    store: FilesystemPartialStore, layout: Layout, *, follows: bool
) -> None:
    owner = await store.open(DIGEST)
    followers = [await store.open(DIGEST)] if follows else []
    layout.part(DIGEST).write_bytes(DATA + b"more")  # written, and not yet moved
    owner.close()
    successor = followers[0] if followers else await store.open(DIGEST)
    await taken_over(successor)
    assert (successor.total, successor.watermark) == (None, 0)
    await successor.store(len(DATA), ORIGIN, [DATA])
    assert layout.blob(DIGEST).read_bytes() == DATA
    successor.close()


async def test_a_small_blob_that_cannot_be_moved_is_whole_and_can_be_committed_later(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    layout.blobs.parent.mkdir(parents=True, exist_ok=True)
    layout.blobs.write_bytes(b"in the way")
    with pytest.raises(FileExistsError):
        await owner.store(len(DATA), ORIGIN, [DATA])
    assert (owner.state, owner.total, owner.watermark) == (State.OWNED, len(DATA), len(DATA))
    assert await owner.read(0, len(DATA)) == DATA
    layout.blobs.unlink()
    await owner.commit()
    assert layout.blob(DIGEST).read_bytes() == DATA
    owner.close()


async def test_folders_removed_under_a_running_server_are_made_again(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    for _ in range(2):
        owner = await store.open(DIGEST)
        await owner.store(len(DATA), ORIGIN, [DATA])
        owner.close()
        assert layout.blob(DIGEST).read_bytes() == DATA
        shutil.rmtree(layout.blobs)
        shutil.rmtree(layout.fills)


@pytest.mark.parametrize("stage", [Stage.UNCACHED, Stage.FAILED, Stage.DISCARDED, Stage.COMMITTED])
async def test_an_owner_that_died_before_it_had_tidied_up_is_tidied_up_after(
    store: FilesystemPartialStore, layout: Layout, stage: Stage
) -> None:
    await left_behind(store)
    rewrite(layout, stage)
    assert await watermark(store) == 0


async def test_a_follower_takes_over_from_an_owner_that_died_between_rename_and_record(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA])
    follower = await store.open(DIGEST)
    layout.blob(DIGEST).parent.mkdir(parents=True)
    layout.part(DIGEST).rename(layout.blob(DIGEST))
    owner.close()
    await follower.poll()
    assert follower.state is State.COMMITTED
    assert await follower.read(0, len(DATA)) == DATA
    follower.close()
    assert not layout.control(DIGEST).exists()


async def test_a_follower_reads_the_blob_that_a_client_pushed_meanwhile(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA[:100]])
    follower = await store.open(DIGEST)
    layout.blob(DIGEST).parent.mkdir(parents=True)
    layout.blob(DIGEST).write_bytes(DATA)
    owner.close()
    await follower.poll()
    assert follower.state is State.COMMITTED
    assert await follower.read(0, len(DATA)) == DATA
    follower.close()
    assert list(layout.fills.rglob("*.*")) == []


async def test_bytes_removed_by_hand_while_their_owner_lives_are_not_promised(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA[:100]])
    layout.part(DIGEST).unlink()
    follower = await store.open(DIGEST)
    await follower.poll()
    assert (follower.state, follower.total, follower.watermark) == (State.FOLLOWED, None, 0)
    follower.close()
    owner.close()


async def test_a_lock_on_a_control_file_without_a_name_is_worth_nothing(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    follower = await store.open(DIGEST)
    layout.control(DIGEST).unlink()
    owner.close()
    await follower.poll()
    assert follower.state is State.GONE
    follower.close()


async def test_a_device_that_is_full_leaves_the_watermark(store: FilesystemPartialStore) -> None:
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    with largest_file(3000):
        await owner.append([DATA[:2000]])
        with pytest.raises(StorageFullError):
            await owner.append([DATA[2000:]])
    assert owner.watermark == 2000
    assert await owner.read(0, 5000) == DATA[:2000]
    await owner.abandon(State.UNCACHED)
    owner.close()


async def test_a_device_without_room_for_a_record_keeps_nothing_of_what_was_given_up(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    follower = await store.open(DIGEST)
    with largest_file(3000), pytest.raises(StorageFullError):
        await owner.store(len(DATA), ORIGIN, [DATA])
    with largest_file(0):
        await owner.abandon(State.UNCACHED)
    assert [path for path in layout.root.rglob("*") if path.is_file()] == []
    await follower.poll()
    assert follower.state is State.GONE  # it begins anew
    follower.close()
    owner.close()


@pytest.mark.parametrize("left", [0, 1000])
async def test_a_process_without_descriptors_leaves_what_it_found(
    store: FilesystemPartialStore, layout: Layout, threads: Threads, left: int
) -> None:
    if left:
        await left_behind(store, left)
    else:
        layout.control(DIGEST).parent.mkdir(parents=True)
    await threads.run(getattr, store, "boot")
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    only = os.dup(0)
    os.close(only)
    resource.setrlimit(resource.RLIMIT_NOFILE, (only + 1, usual[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            await store.open(DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert len(list(layout.control(DIGEST).parent.iterdir())) == (2 if left else 0)
    assert await watermark(store) == left


async def test_a_file_that_is_longer_than_what_was_written_is_not_committed(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA])
    with layout.part(DIGEST).open("ab") as part:
        part.write(b"?")
    with pytest.raises(StorageFullError):
        await owner.commit()
    owner.close()
    assert not layout.blob(DIGEST).exists()


async def test_an_append_that_was_cancelled_holds_the_lock_until_it_has_ended(
    store: FilesystemPartialStore, threads: Threads
) -> None:
    # Were the lock free at once, the successor and the rest of this call would write at the same time.
    owner = await store.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    running, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with owner._locked():  # noqa: SLF001 - what an append holds while it writes
            running.set()
            go_on.wait(10)

    call = started(threads.run(slowly))
    await asyncio.to_thread(running.wait, 10)
    call.cancel()
    owner.close()
    heir = await store.open(DIGEST)
    assert heir.state is State.FOLLOWED
    go_on.set()
    await taken_over(heir)
    heir.close()


class HeldChunks(list[bytes]):
    """Chunks whose writing stands still before the first of them."""

    def __init__(self, chunks: list[bytes]) -> None:
        super().__init__(chunks)
        self.running, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        self.running.set()
        self.go_on.wait(10)
        return super().__iter__()


async def test_a_store_whose_caller_left_never_moves_the_bytes_of_a_successor(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = await store.open(DIGEST)
    chunks = HeldChunks([DATA])
    storing = started(owner.store(len(DATA), ORIGIN, chunks))
    await asyncio.to_thread(chunks.running.wait, 10)
    ending = started(_ended_and_begun_by_another(owner, store))
    await asyncio.wait([ending], timeout=0.2)  # what is right waits for the call in the thread
    chunks.go_on.set()
    await asyncio.gather(storing, return_exceptions=True)
    state = await ending
    assert layout.blob(DIGEST).read_bytes() == DATA
    assert state is State.COMMITTED


async def _ended_and_begun_by_another(owner: Partial, store: FilesystemPartialStore) -> State:
    await owner.abandon(State.GONE)
    owner.close()
    heir = await store.open(DIGEST)
    if heir.state is State.OWNED:
        await heir.begin(len(DATA), ORIGIN)
        await heir.append([DATA[:100]])
    heir.close()
    return heir.state


class FullPartial(FilesystemPartial):
    """A partial for whose record of the end there is no room: the blob took the last of it."""

    def _write_record(self, descriptor: int, stage: Stage, watermark: int) -> None:
        if stage is Stage.COMMITTED:
            raise OSError(errno.ENOSPC, "no room")
        super()._write_record(descriptor, stage, watermark)


async def test_a_blob_that_is_in_place_is_committed_though_its_record_finds_no_room(
    store: FilesystemPartialStore, layout: Layout
) -> None:
    owner = FullPartial(store, DIGEST)
    await asyncio.to_thread(owner.look_first)
    follower = await store.open(DIGEST)
    await owner.store(len(DATA), ORIGIN, [DATA])
    assert owner.state is State.COMMITTED
    assert [path for path in layout.root.rglob("*") if path.is_file()] == [layout.blob(DIGEST)]
    await follower.poll()
    assert follower.state is State.GONE  # it opens the digest again, and finds the blob
    follower.close()
    owner.close()


async def test_a_partial_that_nobody_got_gives_up_its_lock(store: FilesystemPartialStore) -> None:
    # A caller that is cancelled while a thread opens the partial never gets it, and cannot close it.
    opening = started(store.open(DIGEST))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    partial = await store.open(DIGEST)
    await taken_over(partial)
    partial.close()


async def test_reads_are_right_where_the_file_system_cannot_say_what_is_in_memory(threads: Threads) -> None:
    layout = Layout(Path("/dev/shm") / f"pullthrough-{os.getpid()}")  # noqa: S108 - tmpfs: EOPNOTSUPP
    store = FilesystemPartialStore(layout, threads)
    try:
        owner = await store.open(DIGEST)
        await owner.begin(len(DATA), ORIGIN)
        await owner.append([DATA])
        assert await owner.read(10, 1000) == DATA[10:1010]
        assert await owner.read(20, 1000) == DATA[20:1020]
        await owner.abandon(State.GONE)
        owner.close()
    finally:
        for path in sorted(layout.root.rglob("*"), reverse=True):
            path.rmdir()
        layout.root.rmdir()


class TestRecord:
    @pytest.fixture
    def descriptor(self, tmp_path: Path) -> int:
        return os.open(tmp_path / "control", os.O_RDWR | os.O_CREAT)

    @pytest.mark.parametrize("total", [None, 0, 1 << 40])
    def test_is_read_as_it_was_written(self, descriptor: int, total: int | None) -> None:
        record = Record(Stage.UNCACHED, total, 1 << 39, 17, b"0123456789abcdef")
        write_record(descriptor, record)
        assert read_record(descriptor) == record
        assert os.fstat(descriptor).st_size == 64
        os.close(descriptor)

    def test_of_another_version_is_none(self, descriptor: int) -> None:
        write_record(descriptor, Record(Stage.FILLING, 1, 1, 0, bytes(16)))
        os.pwrite(descriptor, b"\2", 4)
        assert read_record(descriptor) is None
        os.close(descriptor)

    def test_of_which_only_a_part_was_written_is_none(self, descriptor: int) -> None:
        write_record(descriptor, Record(Stage.FILLING, 1 << 30, 1 << 20, 0, bytes(16)))
        older = os.pread(descriptor, 20, 0)
        write_record(descriptor, Record(Stage.FILLING, 1 << 30, 1 << 29, 0, bytes(16)))
        os.pwrite(descriptor, older, 0)
        assert read_record(descriptor) is None
        os.close(descriptor)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"route": "x"}'])
    def test_with_a_broken_origin_has_none(self, descriptor: int, text: bytes) -> None:
        os.pwrite(descriptor, text, 64)
        assert read_origin(descriptor, Record(Stage.FILLING, 1, 1, len(text), bytes(16))) == Origin()
        os.close(descriptor)


class TestDescriptor:
    def test_is_closed_when_its_last_user_has_left(self, tmp_path: Path) -> None:
        number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        descriptor = Descriptor(number)
        with descriptor.use() as used:
            descriptor.close()
            os.fstat(used)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)

    def test_is_not_lent_after_it_was_closed(self, tmp_path: Path) -> None:
        descriptor = Descriptor(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT))
        descriptor.close()
        descriptor.close()
        with pytest.raises(ValueError, match="closed"), descriptor.use():
            pass
