"""Blobs out of the store, and out of memory."""

import errno
from collections.abc import AsyncIterator

from proxy.core.ports import BlobFile, BlobReader
from proxy.core.sources import TransferError
from proxy.model.cache_status import CacheStatus

SEGMENT = 128 << 10
"""Bytes read and given to a client at a time: with TLS a connection holds them several times."""


class StoredBlob:
    """The `BlobSource` over a complete blob."""

    def __init__(self, reader: BlobReader, status: CacheStatus) -> None:
        self.total = reader.size
        self.status = status
        self._reader = reader

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield [start, stop); a file that ends early or cannot be read is a `TransferError`."""
        while start < stop:
            try:
                data = await self._reader.read(start, min(SEGMENT, stop - start))
            except OSError as error:
                raise TransferError(f"the stored blob cannot be read at {start}: {error}") from error
            if not data:
                raise TransferError(f"the stored blob ends at {start}, short of {self.total} bytes")
            start += len(data)
            yield data

    def at_rest(self) -> BlobFile | None:
        """Return the file, if the blob is in one."""
        return self._reader.file()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class HeldBlob:
    """The `BlobSource` over a blob that is held in memory: `raw` is all of it."""

    def __init__(self, raw: bytes, status: CacheStatus) -> None:
        self.total = len(raw)
        self.status = status
        self.raw = raw

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield [start, stop) at once."""
        if start < stop:
            yield self.raw[start:stop]

    def at_rest(self) -> bytes:
        """Return the bytes."""
        return self.raw

    def close(self) -> None:
        """Hold nothing that would have to be closed."""


async def read_whole(reader: BlobReader) -> bytes:
    """Return all bytes of a stored blob. Raises OSError where it cannot be read to its end."""
    parts: list[bytes] = []
    size = 0
    while size < reader.size:
        part = await reader.read(size, reader.size - size)
        if not part:
            raise OSError(errno.EIO, f"the stored blob ends at {size}, short of {reader.size} bytes")
        parts.append(part)
        size += len(part)
    return b"".join(parts)
