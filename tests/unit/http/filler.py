"""Fills whose readers are counted."""

import asyncio
from collections.abc import AsyncIterator

from proxy.core.blobs import Filler
from proxy.core.ports import BlobFile
from proxy.core.sources import BlobRoute, BlobSource
from proxy.model.digest import Digest


class CountedSource:
    """A source that tells its `CountedFills` when it is closed."""

    def __init__(self, source: BlobSource, fills: "CountedFills") -> None:
        self.total = source.total
        self.status = source.status
        self._source = source
        self._fills = fills

    def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        return self._source.stream(start, stop)

    def at_rest(self) -> bytes | BlobFile | None:
        return self._source.at_rest()

    def close(self) -> None:
        self._source.close()
        self._fills.left(self)


class CountedFills:
    """The `Filler` protocol around another; `unread` is set while none of its sources is open."""

    def __init__(self, fills: Filler) -> None:
        self._fills = fills
        self._open: set[CountedSource] = set()
        self.opened = 0
        self.unread = asyncio.Event()

    async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> CountedSource:
        source = CountedSource(await self._fills.open(digest, route, size=size), self)
        self.opened += 1
        self._open.add(source)
        self.unread.clear()
        return source

    def left(self, source: CountedSource) -> None:
        self._open.discard(source)
        if not self._open:
            self.unread.set()
