"""Blobs in memory: the twin of the file store, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.core.ports import BlobReader, BlobWriter, DigestMismatchError, StorageFullError
from proxy.model.digest import Digest


class MemoryBlobStore:
    """The `BlobStore` port over a dictionary.

    `capacity` is its room in bytes; blobs on their way count too, as they do on a disk.
    """

    def __init__(self, capacity: int = 1 << 30) -> None:
        """Start empty."""
        self.capacity = capacity
        self._blobs: dict[Digest, bytes] = {}
        self._pending: list[_MemoryWriter] = []

    async def stat(self, digest: Digest) -> int | None:
        """Return the size of a stored blob, or None."""
        blob = self._blobs.get(digest)
        return None if blob is None else len(blob)

    async def open(self, digest: Digest) -> BlobReader | None:
        """Open a stored blob, or return None."""
        blob = self._blobs.get(digest)
        return None if blob is None else _MemoryReader(blob)

    @asynccontextmanager
    async def writer(self, expected: Digest) -> AsyncIterator[BlobWriter]:
        """Begin a blob; leaving without `commit` leaves no trace."""
        writer = _MemoryWriter(self, expected)
        self._pending.append(writer)
        try:
            yield writer
        finally:
            writer.finish()
            self._pending.remove(writer)

    async def delete(self, digest: Digest) -> bool:
        """Remove a blob; tell whether it was there."""
        return self._blobs.pop(digest, None) is not None

    async def scan(self) -> AsyncIterator[tuple[Digest, int]]:
        """Yield (digest, size) of every blob stored when the scan began."""
        for digest, blob in list(self._blobs.items()):
            yield digest, len(blob)

    async def free(self) -> int:
        """Return the room that is left."""
        return self.room()

    def room(self) -> int:
        """Return the room that stored and pending bytes leave of the capacity."""
        used = sum(map(len, self._blobs.values())) + sum(writer.size for writer in self._pending)
        return max(0, self.capacity - used)

    def keep(self, digest: Digest, blob: bytes) -> None:
        """Keep verified content."""
        self._blobs[digest] = blob


class _MemoryReader:
    def __init__(self, blob: bytes) -> None:
        self.size = len(blob)
        self._blob: bytes | None = blob

    async def read(self, position: int, size: int) -> bytes:
        if self._blob is None:
            raise ValueError("this reader is closed")
        return self._blob[position : position + size]

    def file(self) -> None:
        """Return None: there is none."""

    def close(self) -> None:
        self._blob = None


class _MemoryWriter:
    def __init__(self, store: MemoryBlobStore, expected: Digest) -> None:
        self._store = store
        self._expected = expected
        self._data: bytearray | None = bytearray()

    @property
    def size(self) -> int:
        return len(self._data or b"")

    async def write(self, data: bytes) -> None:
        if len(data) > self._store.room():
            self.finish()
            raise StorageFullError("the memory store has no room")
        self._open().extend(data)

    async def commit(self) -> None:
        data = bytes(self._open())
        self.finish()
        if Digest.of(data, self._expected.algorithm) != self._expected:
            raise DigestMismatchError(f"the bytes written are not those of {self._expected}")
        self._store.keep(self._expected, data)

    def finish(self) -> None:
        self._data = None

    def _open(self) -> bytearray:
        if self._data is None:
            raise ValueError("this writer is finished: it was committed, it failed, or its context was left")
        return self._data
