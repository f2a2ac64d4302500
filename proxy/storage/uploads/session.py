"""An upload while one request has it. Every method here blocks and runs in a thread.

The lock is ``flock`` on the file of bytes: it goes with its holder, however that ends. Only the holder writes, and only
the holder renames the file to its digest; but anyone may remove it, which ends the upload. Renaming and removing the
same name cannot both succeed, so that decides who was first.

How far an upload is, is the length of the file, and nothing else says it. An upload is there while both of its files
are: it begins with the file of bytes and ends with it. A record alone is what a process left that died in between.
"""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from proxy.core.ports import DigestMismatchError
from proxy.core.upload_ports import UploadBusyError, UploadRecord, UploadUnknownError
from proxy.model.digest import Digest, Hasher
from proxy.storage.blobs.folders import DurableFolders, sync_folder
from proxy.storage.blobs.upload import put_in_place
from proxy.storage.errors import writing
from proxy.storage.layout import Layout
from proxy.storage.locks import is_named, try_lock, unlock
from proxy.storage.uploads.hashing import HashStates, fresh_hasher, hash_file
from proxy.storage.uploads.record import read_record

_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MODE: Final = 0o600

_log = structlog.get_logger(__name__)


class Session:
    """Hold the lock of one upload, write to it, and make it a blob.

    A coroutine that is cancelled leaves its call running in a thread, or queued. The guard lets `release` wait for a
    running call and turns a later one into an error, so that no call ever writes to a descriptor that was closed and
    given to another file. Calls carry the number of their turn: one that comes after a later one is refused, since its
    caller has gone and the later one has not reckoned with it.
    """

    def __init__(self, layout: Layout, folders: DurableFolders, states: HashStates, upload: UUID) -> None:
        """Touch nothing: `take` does."""
        self.size = 0
        self._layout = layout
        self._folders = folders
        self._states = states
        self._upload = upload
        self._part = layout.session_part(upload)
        self._guard = threading.Lock()
        self._turn = 0
        self._descriptor: int | None = None
        self._hasher: Hasher | None = None  # fed all bytes up to `size`, or None
        self._algorithm = ""
        self._written = False
        self._over = False
        self._released = False

    def take(self) -> UploadRecord:
        """Lock the upload and return its record, or raise `UploadUnknownError` or `UploadBusyError`."""
        with self._guard:
            if self._released:
                raise ValueError("this upload was given back before it was taken")
            record = read_record(self._layout.session_record(self._upload), self._upload)
            if record is None:
                raise unknown(self._upload)
            with writing(self._part):
                self._make_writable()
                descriptor = self._lock(_WRITE)
            self._descriptor = descriptor
            # Lest a loop that ends without waiting for `release` keeps the lock.
            self._close = weakref.finalize(self, os.close, descriptor)
            found = os.fstat(descriptor)
            self.size = found.st_size
            self._algorithm = record.algorithm
            known = self._states.take(self._upload, found)
            self._hasher = known if found.st_size else fresh_hasher(record.algorithm)
            return record

    def append(self, turn: int, data: bytes) -> None:
        """Write and hash `data`: both release the interpreter, so one hop to a thread pays for both."""
        with self._use(turn) as descriptor, writing(self._part):
            self._written = True
            position = self.size
            remaining = memoryview(data)
            try:
                while remaining:
                    written = os.pwrite(descriptor, remaining, position)
                    position += written
                    remaining = remaining[written:]
            except BaseException:
                # A device that fills up takes a part of it: the upload is to end where the client was told it ends.
                os.ftruncate(descriptor, self.size)
                raise
            self.size = position
            if self._hasher is not None:
                self._hasher.update(data)

    def truncate(self, turn: int, size: int) -> None:
        """Drop all bytes from `size` on."""
        with self._use(turn) as descriptor, writing(self._part):
            if not 0 <= size <= self.size:
                raise ValueError(f"an upload of {self.size} bytes cannot be cut to {size}")
            self._written = True
            os.ftruncate(descriptor, size)
            if size == 0:
                self._hasher = fresh_hasher(self._algorithm)
            elif size != self.size:
                self._hasher = None
            self.size = size

    def commit(self, turn: int, expected: Digest) -> None:
        """Verify, make durable, and name the file by its digest; on any failure keep nothing."""
        with self._use(turn) as descriptor:
            try:
                with writing(self._layout.blobs):
                    self._commit(descriptor, expected)
            finally:
                self._over = True
                self._drop()

    def release(self) -> None:
        """Give the upload back, with its bytes; idempotent."""
        with self._guard:
            self._released = True
            if self._descriptor is None:
                return
            self._keep_hasher(self._descriptor)
            unlock(self._descriptor)
            self._descriptor = None
            self._close()

    def _commit(self, descriptor: int, expected: Digest) -> None:
        hasher = self._hasher
        if hasher is None or self._algorithm != expected.algorithm or os.fstat(descriptor).st_size != self.size:
            hasher = hash_file(descriptor, expected.algorithm)
        if not expected.matches(hasher):
            raise DigestMismatchError(
                f"the bytes uploaded have the digest {expected.algorithm}:{hasher.hexdigest()}, not {expected}"
            )
        try:
            put_in_place(descriptor, self._part, self._layout.blob(expected), self._folders)
        except FileNotFoundError as error:
            if is_named(descriptor, self._part):
                raise
            raise unknown(self._upload) from error
        # Without journal, power loss could leave the file both names, and the upload would go on inside of the blob.
        sync_folder(self._layout.sessions)

    def _drop(self) -> None:
        for path in (self._part, self._layout.session_record(self._upload)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                # A device that has turned read-only keeps the file until the upload expires.
                _log.warning("upload.not_removed", path=str(path), error=error.strerror)

    @contextmanager
    def _use(self, turn: int) -> Iterator[int]:
        """Lend the descriptor to one call, if the upload is still there."""
        with self._guard:
            if self._released or self._descriptor is None:
                raise ValueError("this upload is closed: its context was left")
            if turn < self._turn:
                raise ValueError("a later call has overtaken this one, whose caller has gone")
            self._turn = turn
            if self._over or not is_named(self._descriptor, self._part):
                raise unknown(self._upload)
            yield self._descriptor

    def _make_writable(self) -> None:
        """Undo what a commit has done that died before it gave the file its other name."""
        with self._known():
            mode = self._part.lstat().st_mode
        if not mode & 0o200:
            descriptor = self._lock(_READ)
            try:
                os.fchmod(descriptor, _MODE)
            finally:
                os.close(descriptor)

    def _lock(self, flags: int) -> int:
        """Open and lock the file of bytes; the caller closes it."""
        with self._known():
            descriptor = os.open(self._part, flags)
        try:
            self._require_lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require_lock(self, descriptor: int) -> None:
        if not try_lock(descriptor):
            raise UploadBusyError(f"another request is writing to the upload {self._upload}")
        # Removed meanwhile; or committed, and what is open is a blob, which must not be written to.
        if not is_named(descriptor, self._part):
            raise unknown(self._upload)

    @contextmanager
    def _known(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise unknown(self._upload) from error

    def _keep_hasher(self, descriptor: int) -> None:
        if self._hasher is None or self._over:
            return
        # Where this fails the file will be read again.
        with suppress(OSError):
            if self._written:
                # The kernel's stamp is that of its last tick: another process that writes within it would leave no
                # trace. This one is never met again.
                now = time.time_ns()
                os.utime(descriptor, ns=(now, now))
            found = os.fstat(descriptor)
            if found.st_size == self.size:
                self._states.keep(self._upload, self._hasher, found)


def unknown(upload: UUID | None) -> UploadUnknownError:
    """Return the exception for an upload that is not there; None: what was asked for is not even an id."""
    return UploadUnknownError(f"there is no upload {upload}" if upload else "the id of an upload is a UUID")


def expire(layout: Layout, upload: UUID, before: float) -> UploadRecord | None:
    """Remove an upload that got its last byte before that time, unless somebody has it; return what it was.

    What is left of uploads that ended goes too, with no record to return.
    """
    part, record_path = layout.session_part(upload), layout.session_record(upload)
    try:
        descriptor = os.open(part, _READ)
    except FileNotFoundError:
        _unlink_old(record_path, before)
        return None
    try:
        if os.fstat(descriptor).st_mtime >= before or not try_lock(descriptor):
            return None
        # Again: who had the lock until now may have written.
        if os.fstat(descriptor).st_mtime >= before or not is_named(descriptor, part):
            return None
        record = read_record(record_path, upload)
        return record if remove(part, record_path) else None
    finally:
        os.close(descriptor)


def remove(part: Path, record: Path) -> bool:
    """End an upload; tell whether it was this call that did."""
    try:
        part.unlink()
    except FileNotFoundError:
        return False
    record.unlink(missing_ok=True)
    return True


def _unlink_old(path: Path, before: float) -> None:
    with suppress(FileNotFoundError):
        if path.lstat().st_mtime < before:
            path.unlink()
