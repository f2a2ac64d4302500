"""Uploads as files that processes share: one of bytes, which is also the lock, and one that tells what it is."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec
from uuid import UUID

import structlog

from proxy.core.upload_ports import OpenUpload, UploadRecord
from proxy.model.digest import Digest
from proxy.storage.blobs.folders import DurableFolders
from proxy.storage.errors import writing
from proxy.storage.layout import Layout
from proxy.storage.threads import Threads
from proxy.storage.uploads.hashing import HashStates
from proxy.storage.uploads.record import new_id, parse_id, read_record, write_record
from proxy.storage.uploads.session import Session, expire, remove, unknown

P = ParamSpec("P")

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

_log = structlog.get_logger(__name__)


class FilesystemUploadStore:
    """The `UploadStore` port on the local file system that also holds the blobs.

    Any number of processes may share the folder. `threads` stays the caller's, who closes it after the last use.
    """

    def __init__(self, layout: Layout, threads: Threads) -> None:
        """Touch nothing yet."""
        self._layout = layout
        self._threads = threads
        self._folders = DurableFolders(layout.root)
        self._states = HashStates()

    async def begin(self, record: UploadRecord) -> None:
        """Begin an upload with no bytes. An id that is taken, or is no UUID, is a ValueError."""
        await self._threads.run(self._begin, record, new_id(record))

    async def find(self, upload: str) -> tuple[UploadRecord, int] | None:
        """Return an upload and how many bytes it has, also while another request writes to it; or None."""
        known = parse_id(upload)
        return None if known is None else await self._threads.run(self._find, known)

    @asynccontextmanager
    async def open(self, upload: str) -> AsyncIterator[OpenUpload]:
        """Take the upload for one request; leaving keeps its bytes for the next."""
        known = parse_id(upload)
        if known is None:
            raise unknown(None)
        session = Session(self._layout, self._folders, self._states, known)
        try:
            record = await self._threads.run(session.take)
            yield _OpenUpload(session, record, self._threads)
        finally:
            # Shielded: were it cancelled while it waits for a thread, the upload would stay locked.
            await asyncio.shield(self._threads.run(session.release))

    async def remove(self, upload: str) -> bool:
        """End the upload and drop its bytes; tell whether it was there. A request that writes to it fails."""
        known = parse_id(upload)
        return known is not None and await self._threads.run(self._remove, known)

    async def expire(self, idle: float) -> list[UploadRecord]:
        """Remove the uploads that nobody writes to and that got their last byte over `idle` seconds ago."""
        return await self._threads.run(self._expire, time.time() - idle)

    def _begin(self, record: UploadRecord, upload: UUID) -> None:
        part, record_path = self._layout.session_part(upload), self._layout.session_record(upload)
        with writing(self._layout.sessions):
            self._folders.make(self._layout.sessions)
            try:
                write_record(record_path, record)
                try:
                    # The upload begins with this file; without it the record means nothing.
                    os.close(os.open(part, _FLAGS, 0o600))
                except BaseException:
                    record_path.unlink(missing_ok=True)
                    raise
            except FileExistsError as error:
                raise ValueError(f"there is an upload {upload} already") from error

    def _find(self, upload: UUID) -> tuple[UploadRecord, int] | None:
        record = read_record(self._layout.session_record(upload), upload)
        if record is None:
            return None
        try:
            found = self._layout.session_part(upload).lstat()
        except FileNotFoundError:
            return None
        return record, found.st_size

    def _remove(self, upload: UUID) -> bool:
        with writing(self._layout.sessions):
            if self._find(upload) is None:
                return False
            return remove(self._layout.session_part(upload), self._layout.session_record(upload))

    def _expire(self, before: float) -> list[UploadRecord]:
        expired: list[UploadRecord] = []
        for upload in self._uploads():
            try:
                record = expire(self._layout, upload, before)
            except OSError as error:
                # One that cannot be removed is no reason to keep the others.
                _log.warning("upload.not_removed", upload=str(upload), error=error.strerror)
                continue
            if record is not None:
                expired.append(record)
        return expired

    def _uploads(self) -> set[UUID]:
        """Return the uploads that have a file; files with other names are not ours and are passed over."""
        found: set[UUID] = set()
        try:
            with os.scandir(self._layout.sessions) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    upload = parse_id(path.stem)
                    if upload is not None and path in {
                        self._layout.session_part(upload),
                        self._layout.session_record(upload),
                    }:
                        found.add(upload)
        except FileNotFoundError:
            return found
        return found


class _OpenUpload:
    """The `OpenUpload` port over a session: one hop to a thread a call."""

    def __init__(self, session: Session, record: UploadRecord, threads: Threads) -> None:
        self.record = record
        self.size = session.size
        self._session = session
        self._threads = threads
        self._turn = 0

    async def append(self, data: bytes) -> None:
        """Write `data` at the end."""
        await self._run(self._session.append, data)

    async def truncate(self, size: int) -> None:
        """Drop all bytes from `size` on."""
        await self._run(self._session.truncate, size)

    async def commit(self, expected: Digest) -> None:
        """Verify the digest and make the bytes a durable, readable blob; the upload is over either way."""
        await self._run(self._session.commit, expected)

    async def _run(self, call: Callable[Concatenate[int, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._turn += 1
        try:
            await self._threads.run(call, self._turn, *args, **kwargs)
        finally:
            self.size = self._session.size
