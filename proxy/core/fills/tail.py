"""A reader that tails a fill at its own speed."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from proxy.core.fills.bypass import Bypass
from proxy.core.fills.fill import Fill, Phase
from proxy.core.fills.transfer import closing
from proxy.core.sources import BlobRoute, TransferError
from proxy.model.cache_status import CacheStatus
from proxy.model.digest import Hasher

_log = structlog.get_logger(__name__)


class TailSource:
    """The `BlobSource` over a fill that runs.

    It yields bytes as they are written, the last one only when all are verified; a range is answered as it would be
    after the fill. Where the fill cannot go on, it goes on by a transfer of its own, from where it is.
    """

    def __init__(self, fill: Fill, route: BlobRoute, total: int, status: CacheStatus, bypass: Bypass) -> None:
        """Read `fill`, which the caller has joined: closing the source leaves it."""
        self.total = total
        self.status = status
        self._fill = fill
        self._route = route
        self._bypass = bypass
        self._segment = bypass.segment
        # Given out before upstream had answered: a refusal of its own route must still reach it.
        self._early = fill.total is None
        # Of the last stream, for the log.
        self._position, self._stop = 0, total
        self._closed = False

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes [start, stop)."""
        if not 0 <= start <= stop <= self.total:
            raise ValueError(f"the range {start} to {stop} is not within the blob of {self.total} bytes")
        fill = self._fill
        position = self._position = start
        self._stop = stop
        while position < stop:
            self._check()
            ready = min(fill.readable, stop)
            if position < ready:
                data = await self._read(position, ready)
                yield data
                position += len(data)
                # A client that takes everything at once never makes its writer wait: without this, one reader
                # holds the loop until it is through.
                await asyncio.sleep(0)
            elif fill.phase is Phase.UNCACHED and (fill.settled or stop < self.total):
                async with closing(self._bypass.stream(position, stop, self._known_prefix(position))) as rest:
                    async for data in rest:
                        yield data
                        position += len(data)
            else:
                await fill.changed()
            self._position = position

    def at_rest(self) -> None:
        """Return None: the blob is on its way."""

    def close(self) -> None:
        """Leave the fill, which goes on."""
        if not self._closed:
            self._closed = True
            self._fill.leave()
            if self._position < self._stop:
                _log.debug("fill.left", digest=str(self._fill.digest), position=self._position, stop=self._stop)

    def _check(self) -> None:
        fill = self._fill
        if fill.phase is Phase.FAILED:
            raise TransferError(str(fill.error))
        if fill.total is not None and fill.total != self.total:
            raise TransferError(f"{fill.digest} has {fill.total} bytes; the client was promised {self.total}")
        refusal = fill.refusals.get(self._route.name)
        if self._early and refusal is not None:
            raise TransferError(refusal.message)

    async def _read(self, position: int, ready: int) -> bytes:
        self._early = False
        try:
            data = await self._fill.read(position, min(ready - position, self._segment))
        except OSError as error:
            raise TransferError(f"{self._fill.digest} cannot be read back at byte {position}: {error}") from error
        if not data:
            raise TransferError(f"{self._fill.digest}: the bytes from {position} on are no longer there")
        return data

    def _known_prefix(self, position: int) -> Hasher | None:
        """Return a hash of exactly the bytes before `position`, where the fill has one."""
        fill = self._fill
        return fill.hasher.copy() if fill.hasher is not None and position == fill.watermark else None
