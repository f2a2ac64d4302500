"""Partials as files that processes share: one of bytes, and one that is lock and record.

The lock is ``flock`` on the control file: it goes with its holder, however that ends, and nothing else drops it (a
POSIX lock is lost as soon as *any* descriptor of the file is closed in the process). The control file is unlinked
only by the holder, after the record says why; whoever then gets a lock on the file without a name starts again. Files
are never truncated: other processes may be reading them. Bytes beyond the watermark, and holes among them, mean
nothing: who takes over writes them again.

One machine and a local file system: network file systems delay what processes see of each other.
"""

import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import islice
from typing import Final

import structlog

from proxy.core.fills.ports import Origin, State
from proxy.model.digest import Digest
from proxy.storage.blobs.folders import DurableFolders, sync_folder
from proxy.storage.blobs.upload import READ_ONLY
from proxy.storage.errors import writing
from proxy.storage.layout import Layout
from proxy.storage.page_cache import PageCache
from proxy.storage.partials.descriptor import Descriptor
from proxy.storage.partials.record import (
    Record,
    Stage,
    read_boot_id,
    read_origin,
    read_record,
    write_origin,
    write_record,
)
from proxy.storage.threads import Threads
from proxy.storage.writeback import Writeback

_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_VECTORS: Final = 512  # at most IOV_MAX (1024) buffers a call

_STATES: Final = {
    Stage.FILLING: State.FOLLOWED,
    Stage.COMMITTED: State.COMMITTED,
    Stage.UNCACHED: State.UNCACHED,
    Stage.FAILED: State.FAILED,
    Stage.DISCARDED: State.GONE,
}
_STAGES: Final = {state: stage for stage, state in _STATES.items()}

_log = structlog.get_logger(__name__)


class FilesystemPartialStore:
    """The `PartialStore` port on the local file system that also holds the blobs.

    `threads` stay the caller's, who closes them after the last use. Owners write in `writers`, if there are any: a
    device may be slow to take what is written, and readers need not wait.
    """

    def __init__(self, layout: Layout, threads: Threads, writers: Threads | None = None) -> None:
        """Touch nothing yet."""
        self.layout = layout
        self.threads = threads
        self.writers = writers or threads
        self.folders = DurableFolders(layout.root)
        self.page_cache = PageCache()

    @cached_property
    def boot(self) -> bytes:
        """Return the id of this run of the machine; blocks the first time."""
        return read_boot_id()

    async def open(self, digest: Digest) -> "FilesystemPartial":
        """Open what there is of `digest`, or begin it."""
        return await self.threads.run(self._open, digest)

    def _open(self, digest: Digest) -> "FilesystemPartial":
        while True:
            partial = FilesystemPartial(self, digest)
            try:
                partial.look_first()
            except BaseException:
                partial.close()
                raise
            if partial.state is not State.GONE:
                return partial
            partial.close()


class FilesystemPartial:
    """The `Partial` port over a control file and a file of bytes. Calls whose names begin with an underscore block."""

    def __init__(self, store: FilesystemPartialStore, digest: Digest) -> None:
        """Know nothing yet: `look_first` finds out."""
        self.state = State.GONE
        self.total: int | None = None
        self.watermark = 0
        self.origin = Origin()
        self._control: Descriptor | None = None
        self._part: Descriptor | None = None
        self._origin_size = 0
        self._writeback = Writeback()
        # Names are moved and removed by one call at a time: one whose caller has left may still run.
        self._ending = threading.Lock()
        self._store = store
        self._blob_path = store.layout.blob(digest)
        self._control_path = store.layout.control(digest)
        self._part_path = store.layout.part(digest)

    # --- the port ---

    async def poll(self) -> None:
        """Look again, and take over from an owner that has died."""
        if self.state is not State.FOLLOWED:
            return
        # The lock is tried before the record is read: what is read under the lock is final, so an owner that
        # commits in between cannot be overlooked. Neither call waits for a device: the page is in memory.
        if self._lock():
            await self._store.threads.run(self._take_over)
            return
        record = self._read_record()
        if record is not None and record.total is not None and self._part is None:
            await self._store.threads.run(self._look)
        elif record is not None:
            self._see(record)

    async def begin(self, total: int, origin: Origin) -> None:
        """Keep size and origin."""
        await self._store.writers.run(self._begin, total, origin)

    async def append(self, chunks: Sequence[bytes]) -> None:
        """Write `chunks` at the watermark, then raise it."""
        await self._store.writers.run(self._append, chunks)

    async def write_ahead(self, position: int, chunks: Sequence[bytes]) -> None:
        """Write `chunks` above the watermark; the file has a hole until the bytes before them come."""
        await self._store.writers.run(self._write_ahead, position, chunks)

    async def advance(self, watermark: int) -> None:
        """Raise the watermark over bytes that were written ahead of it."""
        await self._store.writers.run(self._advance, watermark)

    async def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`: on the loop where they are in memory, else by a thread."""
        part = self._part
        size = min(size, self.watermark - position)
        if part is None or size <= 0:
            return b""
        with part.use() as descriptor:
            data = self._store.page_cache.read(descriptor, position, size)
            return data if data is not None else await self._store.threads.run(_read, part, position, size)

    async def commit(self) -> None:
        """Make the bytes the stored blob."""
        await self._store.writers.run(self._commit)

    async def store(self, total: int, origin: Origin, chunks: Sequence[bytes]) -> None:
        """Begin, append and commit by one hop to a thread: for a small blob the hops are most of the work."""
        await self._store.writers.run(self._store_whole, total, origin, chunks)

    async def abandon(self, state: State) -> None:
        """Tell followers and remove the files; the bytes stay readable for who has them open."""
        await self._store.writers.run(self._abandon, state)

    def release(self) -> None:
        """Give up the lock."""
        if self._control is not None:
            self._control.close()

    def close(self) -> None:
        """Give up lock and bytes."""
        self.release()
        if self._part is not None:
            self._part.close()

    # --- opening ---

    def look_first(self) -> None:
        """Open the files and settle what they are to this process; GONE: look again with a new control file."""
        if self._open_blob():
            return
        with writing(self._control_path.parent):
            self._control = Descriptor(self._open_control())
        if not self._lock():
            self._look()
        elif self._is_current():
            self._claim()
        # Otherwise its last owner unlinked it between our open and our lock: whoever comes now makes another.

    def _open_control(self) -> int:
        try:
            return os.open(self._control_path, _FLAGS | os.O_CREAT, 0o600)
        except FileNotFoundError:
            # Not durably: nothing that is on its way outlives a power cut.
            self._control_path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._control_path, _FLAGS | os.O_CREAT, 0o600)

    def _claim(self) -> None:
        """Own what there is, unless it has ended."""
        record = self._read_record()
        try:
            if self._open_blob():
                # Committed between our first look and our lock, or by an owner that died before it had tidied up.
                self._remove()
                self.release()
            elif record is not None and (record.stage is not Stage.FILLING or record.boot != self._store.boot):
                # An owner that died before it had tidied up; or a power cut, after which bytes may be holes.
                self._remove()
            else:
                self._own(record)
        except BaseException:
            if record is None:  # otherwise somebody may go on from what is there
                self._remove()
            raise

    def _take_over(self) -> None:
        """Settle, with the lock, what became of a fill that this process followed."""
        record = self._read_record()
        if record is not None and record.stage is not Stage.FILLING:
            self._look()
            self.release()
        elif not self._is_current():
            self.state = State.GONE
            self.release()
        elif self._open_blob():
            self._remove()
            self.release()
        else:
            self._own(record)

    def _look(self) -> None:
        """Take in the record of another process, and open its bytes once there are some."""
        record = self._read_record()
        self.state = State.FOLLOWED
        if record is None:
            return
        if record.total is not None and self._part is None:
            try:
                self._part = Descriptor(os.open(self._part_path, _FLAGS))
            except FileNotFoundError:
                # Renamed or removed, now or since the record was read. While its owner lives the next look tells
                # more; nothing can be read until then.
                if not self._open_blob():
                    self.state = State.GONE if record.stage is Stage.COMMITTED else _STATES[record.stage]
                return
        self._see(record)

    def _open_blob(self) -> bool:
        """Open the stored blob, if there is one."""
        try:
            number = os.open(self._blob_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        part, self._part = self._part, Descriptor(number)
        if part is not None:
            part.close()
        self.total = self.watermark = os.fstat(number).st_size
        self.state = State.COMMITTED
        return True

    def _own(self, record: Record | None) -> None:
        if self._part is None:
            with writing(self._part_path):
                self._part = Descriptor(self._open_part(record))
        if record is not None:
            with self._part.use() as part, self._locked() as control:
                self._see(record)
                self.watermark = min(record.watermark, os.fstat(part).st_size)
                self.origin = read_origin(control, record)
                self._origin_size = record.origin_size
        self.state = State.OWNED

    def _open_part(self, record: Record | None) -> int:
        if record is not None and record.total is not None:
            return os.open(self._part_path, _FLAGS | os.O_CREAT, 0o600)
        # Nothing is known of bytes that may be there.
        try:
            return os.open(self._part_path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            self._part_path.unlink(missing_ok=True)
            return os.open(self._part_path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)

    def _see(self, record: Record) -> None:
        self.total = record.total
        self.watermark = record.watermark
        self.state = _STATES[record.stage]
        if record.stage is Stage.FAILED:
            with self._locked() as control:
                self.origin = read_origin(control, record)

    # --- owning ---

    def _begin(self, total: int, origin: Origin) -> None:
        with writing(self._control_path), self._locked() as control:
            # First what the record gives the length of: who reads the one finds the other.
            self._origin_size = write_origin(control, origin)
            self.origin = origin
            self.total = total
            self._write_record(control, Stage.FILLING, self.watermark)

    def _append(self, chunks: Sequence[bytes]) -> None:
        if self._part is None:
            raise AssertionError("an owned partial is open")
        with writing(self._part_path), self._part.use() as part, self._locked() as control:
            watermark = _write_all(part, chunks, self.watermark)
            self._write_record(control, Stage.FILLING, watermark)
            self.watermark = watermark
            self._writeback.reach(part, watermark)

    def _write_ahead(self, position: int, chunks: Sequence[bytes]) -> None:
        if self._part is None:
            raise AssertionError("an owned partial is open")
        # The control file is borrowed too: the lock is not given up while this writes.
        with writing(self._part_path), self._part.use() as part, self._locked():
            _write_all(part, chunks, position)

    def _advance(self, watermark: int) -> None:
        with writing(self._control_path), self._locked() as control:
            self._write_record(control, Stage.FILLING, watermark)
            self.watermark = watermark

    def _commit(self) -> None:
        if self._part is None:
            raise AssertionError("an owned partial is open")
        with self._ending, writing(self._blob_path), self._part.use() as part, self._locked() as control:
            if os.fstat(part).st_size != self.watermark:
                raise OSError(errno.EIO, "the file is longer than what was written to it", str(self._part_path))
            self._put_in_place(part, control)

    def _store_whole(self, total: int, origin: Origin, chunks: Sequence[bytes]) -> None:
        """Write, commit, and nothing else: each call to the kernel is a fight for the interpreter when it returns.

        There is no record before that of the commit. So whoever comes after an owner that died in here knows nothing of
        the bytes, and throws them away, as those of an owner that died before its first record (`_open_part`).
        """
        if self._part is None:
            raise AssertionError("an owned partial is open")
        with self._ending, writing(self._blob_path), self._part.use() as part, self._locked() as control:
            if self.state is not State.OWNED:
                return  # thrown away before this began: the names may be a successor's
            self.total, self.origin = total, origin
            self.watermark = _write_all(part, chunks, 0)
            self._put_in_place(part, control)

    def _put_in_place(self, part: int, control: int) -> None:
        os.fchmod(part, READ_ONLY)
        os.fsync(part)
        self._store.folders.move(self._part_path, self._blob_path)
        # Not the folder that it left: should a power cut bring the old name back, `_claim` removes it, by the boot
        # id in the record, or where there is no record.
        sync_folder(self._blob_path.parent)
        # It is stored whatever comes now. Who is not told, as there is no room for a first record, finds the lock free.
        with suppress(OSError):
            self._write_record(control, Stage.COMMITTED, self.watermark)
        with suppress(OSError):
            self._control_path.unlink(missing_ok=True)
        self.state = State.COMMITTED
        self.release()

    def _abandon(self, state: State) -> None:
        with self._ending:
            if self.state is not State.COMMITTED:  # by a call whose caller has left: then it is stored
                self._throw_away(state)

    def _throw_away(self, state: State) -> None:
        with self._locked() as control:
            # Followers who are not told, as there is no room for a first record, find the lock free and begin anew.
            with suppress(OSError):
                self._write_record(control, _STAGES[state], self.watermark)
            try:
                self._remove()
            except OSError as error:
                _log.warning("fill.not_removed", path=str(self._part_path), error=error.strerror)
        self.state = state
        self.release()

    def _remove(self) -> None:
        """Remove the names, the bytes first: without the control file nobody would look for them."""
        self._part_path.unlink(missing_ok=True)
        self._control_path.unlink(missing_ok=True)

    # --- the control file ---

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Lend the control file: as long as a call uses it, the lock is not given up."""
        if self._control is None:
            raise AssertionError("a stored blob has no control file")
        with self._control.use() as descriptor:
            yield descriptor

    def _lock(self) -> bool:
        with self._locked() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _is_current(self) -> bool:
        """Tell whether the control file still has its name; another may have it by now."""
        with self._locked() as descriptor:
            mine = os.fstat(descriptor)
        try:
            return os.path.samestat(mine, self._control_path.stat())
        except FileNotFoundError:
            return False

    def _read_record(self) -> Record | None:
        with self._locked() as descriptor:
            return read_record(descriptor)

    def _write_record(self, descriptor: int, stage: Stage, watermark: int) -> None:
        write_record(descriptor, Record(stage, self.total, watermark, self._origin_size, self._store.boot))


def _read(part: Descriptor, position: int, size: int) -> bytes:
    with part.use() as descriptor:
        return os.pread(descriptor, size, position)


def _write_all(descriptor: int, chunks: Sequence[bytes], position: int) -> int:
    """Write `chunks` from `position` on and return where they end."""
    waiting = deque(memoryview(chunk) for chunk in chunks)
    while waiting:
        written = os.pwritev(descriptor, list(islice(waiting, _VECTORS)), position)
        position += written
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.popleft())
        if written:
            waiting[0] = waiting[0][written:]
    return position
