"""Blobs on their way into the file store: one temporary file each, locked while its writer lives.

Every function here blocks and runs in a thread. A file in the uploads folder carries its writer's ``flock``: the
kernel drops it when the process ends, however it ends, so a file whose lock can be had belongs to nobody and is
removed, however young; a file whose lock is held is left alone, however old. This holds for any number of
processes on one store, with no clock and no list of owners.
"""

import os
import threading
from pathlib import Path
from uuid import uuid4

import structlog

from proxy.core.ports import DigestMismatchError
from proxy.model.digest import Digest
from proxy.storage.blobs.folders import DurableFolders, sync_folder
from proxy.storage.errors import writing
from proxy.storage.layout import Layout
from proxy.storage.locks import try_lock

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
READ_ONLY = 0o440

_log = structlog.get_logger(__name__)


class Upload:
    """Collect one blob in a temporary file and move it to its place once its digest is right.

    A coroutine that is cancelled leaves its call running in a thread, or queued. The lock lets `discard` wait for
    a running call and turns a later one into an error, so that no call ever writes to a descriptor that was closed
    and given to another file.
    """

    def __init__(self, layout: Layout, folders: DurableFolders, expected: Digest) -> None:
        """Touch nothing: the file is made by the first call that needs it."""
        self._layout = layout
        self._folders = folders
        self._expected = expected
        self._hasher = expected.hasher()
        self._lock = threading.Lock()
        self._file: tuple[int, Path] | None = None
        self._finished = False

    def append(self, data: bytes) -> None:
        """Write and hash `data`: both release the interpreter, so one hop to a thread pays for both."""
        with self._lock:
            try:
                with writing(self._layout.uploads):
                    descriptor, _ = self._open()
                    remaining = memoryview(data)
                    while remaining:
                        remaining = remaining[os.write(descriptor, remaining) :]
                self._hasher.update(data)
            except BaseException:
                # The space is given back at once: the caller may hold on to its context for the rest of a transfer.
                self._drop()
                raise

    def commit(self) -> None:
        """Verify, make durable, and name the file by its digest; on any failure keep nothing."""
        with self._lock:
            try:
                with writing(self._layout.blobs):
                    self._commit()
            finally:
                self._drop()

    def discard(self) -> None:
        """Remove what was not committed; idempotent."""
        with self._lock:
            self._drop()

    def _commit(self) -> None:
        descriptor, path = self._open()
        if not self._expected.matches(self._hasher):
            raise DigestMismatchError(
                f"the bytes written have the digest {self._expected.algorithm}:{self._hasher.hexdigest()}, "
                f"not {self._expected}"
            )
        put_in_place(descriptor, path, self._layout.blob(self._expected), self._folders)

    def _open(self) -> tuple[int, Path]:
        if self._finished:
            raise ValueError("this writer is finished: it was committed, it failed, or its context was left")
        if self._file is None:
            self._file = create_upload(self._layout)
        return self._file

    def _drop(self) -> None:
        self._finished = True
        if self._file is not None:
            descriptor, path = self._file
            self._file = None
            try:
                # Before the lock goes with the descriptor, lest a sweep counts it as left behind.
                path.unlink(missing_ok=True)
            except OSError as error:
                # A device that has turned read-only keeps the file; the sweep of the next start removes it.
                _log.warning("upload.not_removed", path=str(path), error=error.strerror)
            finally:
                os.close(descriptor)


def put_in_place(descriptor: int, path: Path, target: Path, folders: DurableFolders) -> None:
    """Make the open file at `path` durable and read-only, and name it `target`, durably."""
    os.fchmod(descriptor, READ_ONLY)
    os.fsync(descriptor)
    folders.make(target.parent)
    # Where the digest is stored already the same bytes take its place; readers of the old file go on.
    path.replace(target)
    sync_folder(target.parent)


def create_upload(layout: Layout) -> tuple[int, Path]:
    """Return a new, empty, locked file in the uploads folder; the caller closes the descriptor and owns the name."""
    while True:
        path = layout.uploads / uuid4().hex
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            if try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0:
                return descriptor, path
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        # A sweep took the lock between our open and our lock, and has removed the file or is about to: a new name.
        os.close(descriptor)


def sweep_uploads(layout: Layout) -> int:
    """Remove the files of writers that have died; return how many there were."""
    removed = 0
    with os.scandir(layout.uploads) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            try:
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # committed or discarded meanwhile
            try:
                # A writer may have committed between our open and our lock: its file has left this folder, and
                # the name is never used again.
                if try_lock(descriptor):
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
            finally:
                os.close(descriptor)
    return removed
