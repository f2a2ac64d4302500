"""Fills in memory, behind the `Filler` protocol: one transfer a digest, which others may join."""

import asyncio
from collections.abc import AsyncIterator

from proxy.core.ports import BlobStore
from proxy.core.sources import BlobRoute, BlobSource
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest


class FilledBlob:
    """A blob in memory; `closed` tells whether its reader has left."""

    def __init__(self, content: bytes, status: CacheStatus) -> None:
        self.total = len(content)
        self.status = status
        self.closed = False
        self._content = content

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        yield self._content[start:stop]

    def at_rest(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


class MemoryFills:
    """Fill `blobs` by the route of who asks first.

    `held` are fills under way for others: who asks for such a digest joins, and its own route is not used. While
    `open_gate` is clear a fill waits between its upstream's answer and its commit.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self.held: dict[Digest, bytes] = {}
        self.given: list[FilledBlob] = []
        self.sizes: list[int | None] = []
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self._blobs = blobs

    async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> BlobSource:
        self.sizes.append(size)
        await self.open_gate.wait()
        if digest in self.held:
            return self._give(self.held[digest], CacheStatus(forward=Forward.MISS, collapsed=True))
        async with route.open(0, "") as body:
            content = b"".join([chunk async for chunk in body.chunks()])
        async with self._blobs.writer(digest) as writer:
            await writer.write(content)
            await writer.commit()
        return self._give(content, CacheStatus(forward=Forward.MISS, stored=True))

    def _give(self, content: bytes, status: CacheStatus) -> FilledBlob:
        self.given.append(FilledBlob(content, status))
        return self.given[-1]
