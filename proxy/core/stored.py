"""A blob out of the store."""

from collections.abc import AsyncIterator

from proxy.core.ports import BlobReader
from proxy.core.sources import TransferError
from proxy.model.cache_status import CacheStatus

SEGMENT = 256 << 10
"""Bytes read and given to a client at a time."""


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

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
