"""What the files of uploads promise beyond the port: restarts, other processes, deaths, devices in trouble."""

import asyncio
import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from proxy.core.ports import DigestMismatchError, StorageFullError
from proxy.core.upload_ports import UploadBusyError, UploadRecord, UploadUnknownError
from proxy.model.digest import Digest
from proxy.model.principal import ANONYMOUS
from proxy.model.reference import RepositoryName
from proxy.storage.blobs.folders import DurableFolders
from proxy.storage.layout import Layout
from proxy.storage.threads import Threads
from proxy.storage.uploads import FilesystemUploadStore
from proxy.storage.uploads.hashing import HashStates
from proxy.storage.uploads.session import Session
from tests.support.background import started
from tests.support.limits import largest_file
from tests.support.processes import open_descriptors
from tests.support.uploads import Calls, Pause, append, begun, commit, size, taken

MIB = 1 << 20


@pytest.fixture
def store(layout: Layout, threads: Threads) -> FilesystemUploadStore:
    return FilesystemUploadStore(layout, threads)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


async def test_an_upload_is_two_files_and_then_one_read_only_blob(store: FilesystemUploadStore, layout: Layout) -> None:
    upload = await begun(store, b"data")
    record, part = layout.session_record(UUID(upload)), layout.session_part(UUID(upload))

    assert files(layout.root) == {record, part}
    assert (record.stat().st_mode & 0o777, part.stat().st_mode & 0o777) == (0o600, 0o600)
    assert part.read_bytes() == b"data"
    inode = part.stat().st_ino
    digest = Digest.of(b"data")
    await commit(store, upload, digest)
    assert files(layout.root) == {layout.blob(digest)}
    assert (layout.blob(digest).stat().st_mode & 0o777, layout.blob(digest).stat().st_ino) == (0o440, inode)


async def test_an_upload_outlives_the_process(store: FilesystemUploadStore, layout: Layout, threads: Threads) -> None:
    upload = await begun(store, b"one ")
    restarted = FilesystemUploadStore(layout, threads)
    found = await restarted.find(upload)
    assert found == (UploadRecord(upload, RepositoryName("team/app"), ANONYMOUS, "sha256"), 4)
    await append(restarted, upload, b"two")
    await commit(restarted, upload, Digest.of(b"one two"))

    assert layout.blob(Digest.of(b"one two")).read_bytes() == b"one two"


async def test_two_processes_never_write_at_once(store: FilesystemUploadStore, layout: Layout) -> None:
    upload = await begun(store, b"one ")
    program = f"""
import sys
from pathlib import Path
from uuid import UUID
from proxy.storage.blobs.folders import DurableFolders
from proxy.storage.layout import Layout
from proxy.storage.uploads.hashing import HashStates
from proxy.storage.uploads.session import Session
layout = Layout(Path({str(layout.root)!r}))
session = Session(layout, DurableFolders(layout.root), HashStates(), UUID({upload!r}))
session.take()
session.append(1, b"two ")
print("taken", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    other = await asyncio.to_thread(subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert await asyncio.to_thread(other.stdout.readline) == b"taken\n"
    with pytest.raises(UploadBusyError):
        await append(store, upload, b"three")
    assert await size(store, upload) == 8
    assert await store.expire(-3600) == []
    other.kill()
    await asyncio.to_thread(other.communicate)
    await append(store, upload, b"three")
    await commit(store, upload, Digest.of(b"one two three"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["fchmod", "fsync", "replace", "unlink"])
async def test_a_killed_commit_leaves_the_blob_or_the_upload(
    store: FilesystemUploadStore, layout: Layout, call: str, when: str
) -> None:
    upload = await begun(store, b"data")
    program = f"""
import os, signal
from pathlib import Path
from uuid import UUID
from proxy.model.digest import Digest
from proxy.storage.blobs.folders import DurableFolders
from proxy.storage.layout import Layout
from proxy.storage.uploads.hashing import HashStates
from proxy.storage.uploads.session import Session
layout = Layout(Path({str(layout.root)!r}))
session = Session(layout, DurableFolders(layout.root), HashStates(), UUID({upload!r}))
session.take()
real = os.{call}
def die(*args, **kwargs):
    if {when!r} == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
os.{call} = die
session.commit(1, Digest.of(b"data"))
"""
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert died.returncode == -signal.SIGKILL
    blob = layout.blob(Digest.of(b"data"))
    part = layout.session_part(UUID(upload))
    if blob.exists():
        assert (call, when) in {("replace", "after"), ("unlink", "before"), ("unlink", "after")}
        assert (blob.read_bytes(), blob.stat().st_mode & 0o777) == (b"data", 0o440)
        assert await store.find(upload) is None
        with pytest.raises(UploadUnknownError):
            await append(store, upload, b"x")
        await store.expire(-3600)
        assert files(layout.root) == {blob}
    else:
        async with store.open(upload) as opened:
            # Whoever is not root could not write to it else.
            assert part.stat().st_mode & 0o777 == 0o600
            assert opened.size == 4
            await opened.append(b" and more")
            await opened.commit(Digest.of(b"data and more"))
        assert files(layout.root) == {layout.blob(Digest.of(b"data and more"))}


async def test_everything_is_durable_in_its_order(
    store: FilesystemUploadStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begun(store, b"data")
    await commit(store, await begun(store, b"other"), Digest.of(b"other"))  # the folders are there and known
    calls = Calls()
    for name in ("fchmod", "fsync", "mkdir", "replace", "unlink"):
        monkeypatch.setattr(os, name, calls.note(name, getattr(os, name)))
    await commit(store, upload, Digest.of(b"data"))

    assert layout.blob(Digest.of(b"data")).exists()
    made = ["mkdir", "fsync"]  # of the blob's own shard
    assert calls == ["fchmod", "fsync", *made, "replace", "fsync", "fsync", "unlink", "unlink"]


class TestCancelling:
    async def test_an_append_that_runs_keeps_the_upload_until_it_has_ended(
        self, store: FilesystemUploadStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Were the upload free at once, its successor and the rest of this call would write at the same time.
        upload = await begun(store, b"one ")
        pause = Pause(os.pwrite)
        monkeypatch.setattr(os, "pwrite", pause)
        appending = started(append(store, upload, b"two"))
        await pause.stopped()
        appending.cancel()
        await asyncio.sleep(0)
        appending.cancel()  # while it gives the upload back
        await asyncio.gather(appending, return_exceptions=True)
        assert appending.cancelled()
        with pytest.raises(UploadBusyError):
            await append(store, upload, b"three")
        pause.go_on.set()
        await taken(store, upload)

        assert await size(store, upload) == 7
        await commit(store, upload, Digest.of(b"one two"))

    async def test_a_commit_that_runs_goes_on(
        self, store: FilesystemUploadStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = await begun(store, b"data")
        pause = Pause(os.fsync)
        monkeypatch.setattr(os, "fsync", pause)
        committing = started(commit(store, upload, Digest.of(b"data")))
        await pause.stopped()
        committing.cancel()
        pause.go_on.set()
        await asyncio.gather(committing, return_exceptions=True)

        assert committing.cancelled()
        assert files(layout.root) == {layout.blob(Digest.of(b"data"))}
        assert await store.find(upload) is None

    @pytest.mark.parametrize("turns", [1, 2, 3, 5, 8])
    async def test_a_request_that_waits_for_a_thread_keeps_nothing_locked(self, layout: Layout, turns: int) -> None:
        threads = Threads("uploads", 1)
        store = FilesystemUploadStore(layout, threads)
        upload = await begun(store, b"data")
        before = open_descriptors()
        go_on = threading.Event()
        waiting = started(threads.run(go_on.wait, 60))
        requests = [started(append(store, upload, b"x")) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for request in requests:
            request.cancel()
        go_on.set()
        await asyncio.gather(waiting, *requests, return_exceptions=True)
        await taken(store, upload)
        await asyncio.to_thread(threads.close)
        gc.collect()

        assert open_descriptors() == before

    async def test_a_request_cancelled_twice_gives_the_upload_back(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads = Threads("uploads", 1)
        store = FilesystemUploadStore(layout, threads)
        upload = await begun(store)
        pause = Pause(os.pwrite)
        monkeypatch.setattr(os, "pwrite", pause)
        kept = []  # as a traceback may keep it

        async def write() -> None:
            async with store.open(upload) as opened:
                kept.append(opened)
                await opened.append(b"data")

        writing = started(write())
        await pause.stopped()
        for _ in range(2):
            writing.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert writing.cancelled()
        pause.go_on.set()
        await taken(store, upload)
        await asyncio.to_thread(threads.close)

        assert len(kept) == 1

    async def test_a_call_that_a_later_one_has_overtaken_is_not_done(
        self, store: FilesystemUploadStore, layout: Layout
    ) -> None:
        # A cancelled append that still waits for the guard when its request has cut the upload.
        upload = UUID(await begun(store, b"one two"))
        session = Session(layout, DurableFolders(layout.root), HashStates(), upload)
        await asyncio.to_thread(session.take)
        await asyncio.to_thread(session.truncate, 2, 3)
        with pytest.raises(ValueError, match="overtaken"):
            await asyncio.to_thread(session.append, 1, b"late")
        await asyncio.to_thread(session.release)

        assert layout.session_part(upload).read_bytes() == b"one"

    async def test_an_upload_given_back_before_it_was_taken_is_not_taken(
        self, store: FilesystemUploadStore, layout: Layout
    ) -> None:
        upload = await begun(store)
        session = Session(layout, DurableFolders(layout.root), HashStates(), UUID(upload))
        await asyncio.to_thread(session.release)
        with pytest.raises(ValueError, match="before it was taken"):
            await asyncio.to_thread(session.take)
        await append(store, upload, b"data")


class TestRaces:
    @pytest.fixture
    def between(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
        """Do something between the next open and lock."""

        def arrange(do: Callable[[], object]) -> None:
            real, waiting = fcntl.flock, [do]

            def flock(descriptor: int, operation: int) -> None:
                if waiting:
                    waiting.pop()()
                real(descriptor, operation)

            monkeypatch.setattr(fcntl, "flock", flock)

        return arrange

    async def test_a_file_that_became_a_blob_is_not_written_to(
        self, store: FilesystemUploadStore, layout: Layout, between: Callable[[Callable[[], object]], None]
    ) -> None:
        upload = await begun(store, b"data")
        blob = layout.blob(Digest.of(b"data"))
        blob.parent.mkdir(parents=True)
        between(lambda: layout.session_part(UUID(upload)).replace(blob))
        with pytest.raises(UploadUnknownError):
            async with store.open(upload):
                raise AssertionError("what is open is the blob")

        assert blob.read_bytes() == b"data"

    async def test_a_file_that_became_a_blob_does_not_expire(
        self, store: FilesystemUploadStore, layout: Layout, between: Callable[[Callable[[], object]], None]
    ) -> None:
        upload = await begun(store, b"data")
        blob = layout.blob(Digest.of(b"data"))
        blob.parent.mkdir(parents=True)
        between(lambda: layout.session_part(UUID(upload)).replace(blob))

        assert await store.expire(-3600) == []
        assert blob.read_bytes() == b"data"

    async def test_an_upload_removed_while_it_is_taken_is_unknown(
        self, store: FilesystemUploadStore, layout: Layout, between: Callable[[Callable[[], object]], None]
    ) -> None:
        upload = await begun(store, b"data")
        between(layout.session_part(UUID(upload)).unlink)
        with pytest.raises(UploadUnknownError):
            async with store.open(upload):
                raise AssertionError("what is open has no name")

    async def test_an_upload_that_got_a_byte_while_it_was_found_idle_does_not_expire(
        self, store: FilesystemUploadStore, layout: Layout, between: Callable[[Callable[[], object]], None]
    ) -> None:
        upload = await begun(store, b"data")
        part = layout.session_part(UUID(upload))
        os.utime(part, (0, 0))
        between(lambda: os.utime(part))

        assert await store.expire(3600) == []
        assert await size(store, upload) == 4

    async def test_an_upload_removed_in_the_last_moment_is_not_committed(
        self, store: FilesystemUploadStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = await begun(store, b"data")
        pause = Pause(os.replace)
        monkeypatch.setattr(os, "replace", pause)
        committing = started(commit(store, upload, Digest.of(b"data")))
        await pause.stopped()
        assert await store.remove(upload)
        pause.go_on.set()
        with pytest.raises(UploadUnknownError):
            await committing

        assert files(layout.root) == set()


class TestTrouble:
    async def test_a_full_device_keeps_what_came_before(self, store: FilesystemUploadStore, layout: Layout) -> None:
        upload = await begun(store, b"x" * MIB)
        with largest_file(2 * MIB):
            async with store.open(upload) as opened:
                with pytest.raises(StorageFullError, match=str(layout.sessions)):
                    await opened.append(b"x" * 3 * MIB)
                assert opened.size == MIB
                assert await size(store, upload) == MIB
                await opened.append(b"x" * 1000)  # there is room for less
        await append(store, upload, b"x" * 3 * MIB)
        await commit(store, upload, Digest.of(b"x" * (4 * MIB + 1000)))

    async def test_a_full_device_begins_nothing(self, store: FilesystemUploadStore, layout: Layout) -> None:
        with largest_file(10), pytest.raises(StorageFullError, match=str(layout.sessions)):
            await begun(store)

        assert files(layout.root) == set()

    async def test_a_device_that_cannot_sync_ends_the_upload(
        self, store: FilesystemUploadStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What the kernel could not write it may have dropped: nobody can say what the file holds.
        upload = await begun(store, b"data")

        def fail(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageFullError, match=os.strerror(errno.EIO)):
            await commit(store, upload, Digest.of(b"data"))

        assert files(layout.root) == set()

    async def test_a_folder_that_vanishes_is_not_taken_for_a_removed_upload(
        self, store: FilesystemUploadStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload, real = await begun(store, b"data"), os.replace

        def vanish(source: Path, target: Path) -> None:
            target.parent.rmdir()
            real(source, target)

        monkeypatch.setattr(os, "replace", vanish)
        with pytest.raises(FileNotFoundError):
            await commit(store, upload, Digest.of(b"data"))

        assert files(layout.root) == set()

    async def test_a_device_that_keeps_the_files_ends_the_upload_all_the_same(
        self, store: FilesystemUploadStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = await begun(store, b"wrong")

        def fail(_: Path) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(os, "unlink", fail)
        async with store.open(upload) as opened:
            with pytest.raises(DigestMismatchError):
                await opened.commit(Digest.of(b"right"))
            with pytest.raises(UploadUnknownError):
                await opened.append(b"more")

    async def test_a_device_that_cannot_be_written_is_told_when_the_upload_is_opened(
        self, store: FilesystemUploadStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload, real = await begun(store, b"data"), os.open

        def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real(path, flags, mode)

        monkeypatch.setattr(os, "open", read_only)
        with pytest.raises(StorageFullError, match=os.strerror(errno.EROFS)):
            await append(store, upload, b"x")

        assert await size(store, upload) == 4

    @pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"id": "x"}', b"null"])
    async def test_an_upload_without_a_sound_record_is_unknown_and_expires(
        self, store: FilesystemUploadStore, layout: Layout, damage: bytes
    ) -> None:
        upload = await begun(store, b"data")
        layout.session_record(UUID(upload)).write_bytes(damage)

        assert await store.find(upload) is None
        assert await store.remove(upload) is False
        with pytest.raises(UploadUnknownError):
            await append(store, upload, b"x")
        assert await store.expire(3600) == []
        assert len(files(layout.root)) == 2
        assert await store.expire(-3600) == []
        assert files(layout.root) == set()

    async def test_a_record_counts_under_its_own_id_only(self, store: FilesystemUploadStore, layout: Layout) -> None:
        upload, other = await begun(store, b"data"), uuid4()
        layout.session_record(other).write_bytes(layout.session_record(UUID(upload)).read_bytes())
        layout.session_part(other).write_bytes(b"data")

        assert await store.find(str(other)) is None

    async def test_what_is_left_of_an_upload_is_not_begun_again(
        self, store: FilesystemUploadStore, layout: Layout
    ) -> None:
        upload = await begun(store, b"data")
        layout.session_record(UUID(upload)).unlink()
        with pytest.raises(ValueError, match="already"):
            await store.begin(UploadRecord(upload, RepositoryName("team/app"), ANONYMOUS, "sha256"))

        assert files(layout.root) == {layout.session_part(UUID(upload))}

    @pytest.mark.parametrize("left", ["record", "part"])
    async def test_half_an_upload_is_unknown_and_expires(
        self, store: FilesystemUploadStore, layout: Layout, left: str
    ) -> None:
        upload = UUID(await begun(store, b"data"))
        (layout.session_part if left == "record" else layout.session_record)(upload).unlink()

        assert await store.find(str(upload)) is None
        assert await store.remove(str(upload)) is False
        with pytest.raises(UploadUnknownError):
            await append(store, str(upload), b"x")
        assert await store.expire(3600) == []
        assert len(files(layout.root)) == 1  # it may be an upload that begins right now
        assert await store.expire(-3600) == []
        assert files(layout.root) == set()

    async def test_expiring_leaves_alone_what_is_not_an_upload(
        self, store: FilesystemUploadStore, layout: Layout
    ) -> None:
        upload = await begun(store, b"data")
        strange = {
            layout.sessions / name
            for name in ("README", f"{upload}", f"{upload}.part.bak", f"{upload.upper()}x.part", "x.part", "x.json")
        }
        for path in strange:
            path.write_bytes(b"strange")
            os.utime(path, (0, 0))
        (layout.sessions / "folder").mkdir()
        (layout.sessions / f"{uuid4()}.part").mkdir()
        link = layout.sessions / f"{uuid4()}.part"
        link.symlink_to(layout.sessions / "README")

        assert [record.id for record in await store.expire(-3600)] == [upload]
        assert files(layout.root) == {*strange, link}
        assert link.is_symlink()

    async def test_one_that_cannot_be_removed_keeps_no_other(
        self, store: FilesystemUploadStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uploads = {await begun(store, b"data") for _ in range(3)}
        failed: list[str] = []
        real = os.unlink

        def fail_once(path: Path) -> None:
            if not failed:
                failed.append(path.stem)
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            real(path)

        monkeypatch.setattr(os, "unlink", fail_once)

        assert {record.id for record in await store.expire(-3600)} == uploads - {*failed}
        assert await size(store, failed[0]) == 4

    async def test_no_descriptor_stays_open(self, layout: Layout) -> None:
        threads = Threads("uploads", 2)
        store = FilesystemUploadStore(layout, threads)
        await commit(store, await begun(store, b"first"), Digest.of(b"first"))
        before = open_descriptors()
        for number in range(10):
            data = b"%d" % number
            await commit(store, await begun(store, data), Digest.of(data))
            with pytest.raises(DigestMismatchError):
                await commit(store, await begun(store, data), Digest.of(b"other"))
            upload = await begun(store, data)
            async with store.open(upload):
                with pytest.raises(UploadBusyError):
                    await append(store, upload, b"x")
            await store.expire(-3600)
        appending = [started(append(store, await begun(store), b"x")) for _ in range(20)]
        for task in appending[::2]:
            task.cancel()
        await asyncio.gather(*appending, return_exceptions=True)
        await asyncio.to_thread(threads.close)
        gc.collect()

        assert open_descriptors() == before
