"""Uploads in memory: the twin of the file store, for tests."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.core.ports import DigestMismatchError, StorageFullError
from proxy.core.upload_ports import OpenUpload, UploadBusyError, UploadRecord, UploadUnknownError
from proxy.model.digest import Digest
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.uploads.record import new_id


@dataclass(eq=False, slots=True)
class _Upload:
    record: UploadRecord
    changed_at: float
    data: bytearray = field(default_factory=bytearray)
    taken: bool = False


class MemoryUploadStore:
    """The `UploadStore` port over a dictionary, committing to `blobs`, whose room it shares.

    `now` tells the time by which uploads expire. Several services that share one store behave like several processes.
    """

    def __init__(self, blobs: MemoryBlobStore, now: Callable[[], float] = time.time) -> None:
        """Start empty."""
        self.now = now
        self._blobs = blobs
        self._uploads: dict[str, _Upload] = {}

    async def begin(self, record: UploadRecord) -> None:
        """Begin an upload with no bytes. An id that is taken, or is no UUID, is a ValueError."""
        upload = str(new_id(record))
        if upload in self._uploads:
            raise ValueError(f"there is an upload {upload} already")
        self._uploads[upload] = _Upload(record, self.now())

    async def find(self, upload: str) -> tuple[UploadRecord, int] | None:
        """Return an upload and how many bytes it has, also while another request writes to it; or None."""
        found = self._uploads.get(upload)
        return None if found is None else (found.record, len(found.data))

    @asynccontextmanager
    async def open(self, upload: str) -> AsyncIterator[OpenUpload]:
        """Take the upload for one request; leaving keeps its bytes for the next."""
        found = self._uploads.get(upload)
        if found is None:
            raise UploadUnknownError("there is no such upload")
        if found.taken:
            raise UploadBusyError(f"another request is writing to the upload {upload}")
        found.taken = True
        opened = _OpenUpload(self, found)
        try:
            yield opened
        finally:
            found.taken = False
            opened.leave()

    async def remove(self, upload: str) -> bool:
        """End the upload and drop its bytes; tell whether it was there. A request that writes to it fails."""
        return self._uploads.pop(upload, None) is not None

    async def expire(self, idle: float) -> list[UploadRecord]:
        """Remove the uploads that nobody writes to and that got their last byte over `idle` seconds ago."""
        before = self.now() - idle
        expired = [
            upload.record for upload in self._uploads.values() if not upload.taken and upload.changed_at < before
        ]
        for record in expired:
            del self._uploads[record.id]
        return expired

    def has(self, upload: _Upload) -> bool:
        """Tell whether the upload has not ended."""
        return self._uploads.get(upload.record.id) is upload

    def room(self) -> int:
        """Return the room that blobs and uploads leave."""
        return max(0, self._blobs.room() - sum(len(upload.data) for upload in self._uploads.values()))

    def end(self, upload: _Upload, digest: Digest) -> None:
        """Make the upload a blob if that is its digest; it is over either way."""
        del self._uploads[upload.record.id]
        data = bytes(upload.data)
        if Digest.of(data, digest.algorithm) != digest:
            raise DigestMismatchError(f"the bytes uploaded are not those of {digest}")
        self._blobs.keep(digest, data)


class _OpenUpload:
    """The `OpenUpload` port over a buffer. Every method runs without a pause."""

    def __init__(self, store: MemoryUploadStore, upload: _Upload) -> None:
        self.record = upload.record
        self.size = len(upload.data)
        self._store = store
        self._upload = upload
        self._left = False

    async def append(self, data: bytes) -> None:
        """Write `data` at the end."""
        self._require()
        if len(data) > self._store.room():
            raise StorageFullError("the memory store has no room")
        self._upload.data.extend(data)
        self._changed()

    async def truncate(self, size: int) -> None:
        """Drop all bytes from `size` on."""
        self._require()
        if not 0 <= size <= self.size:
            raise ValueError(f"an upload of {self.size} bytes cannot be cut to {size}")
        del self._upload.data[size:]
        self._changed()

    async def commit(self, expected: Digest) -> None:
        """Verify the digest and make the bytes a readable blob; the upload is over either way."""
        self._require()
        self._store.end(self._upload, expected)

    def leave(self) -> None:
        """Take nothing more."""
        self._left = True

    def _require(self) -> None:
        if self._left:
            raise ValueError("this upload is closed: its context was left")
        if not self._store.has(self._upload):
            raise UploadUnknownError(f"there is no upload {self.record.id}")

    def _changed(self) -> None:
        self.size = len(self._upload.data)
        self._upload.changed_at = self._store.now()
