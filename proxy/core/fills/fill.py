"""One blob on its way: what its worker knows, shared with all readers of this process."""

import asyncio
from enum import Enum
from typing import Final

from proxy.core.fills.ports import Partial
from proxy.core.fills.window import Shares, Window
from proxy.core.sources import BlobRoute
from proxy.model.digest import Digest, Hasher
from proxy.model.errors import ProxyError, UpstreamError

_WORTH: Final = 64 << 10
"""Bytes that are worth a call to a client."""


class Phase(Enum):
    """How far a fill has come."""

    FILLING = "filling"
    DONE = "done"  # verified: all bytes can be read
    UNCACHED = "uncached"  # no more bytes come: each reader goes on by its own route
    FAILED = "failed"  # nothing more may be read


class Fill:
    """What is known of one blob on its way.

    One worker changes it; readers read it and wait for `changed`. It lives as long as its worker or a reader does.

    `size` is what a descriptor said, `total` what upstream or the owner did; None while unknown. `promised` tells
    that a reader was given the blob, and may have told its client so; `served` that a reader has asked for bytes:
    from then on they may not be exchanged for others. `carrier` names the route by which this process fetches, None
    where it does not; `refusals` say why routes were given up. `found`: there was nothing to fetch, the blob was stored
    by then. Once the fill is UNCACHED and `settled`, `hasher` has been fed exactly [0, watermark); None where that
    could not be done.

    A `background` fill is one that no client has asked for so far; it can be told to `give_way`.
    """

    def __init__(
        self, digest: Digest, size: int | None, *, background: bool = False, shares: Shares | None = None
    ) -> None:
        """Know nothing but the name; hold no more in memory than `shares` says."""
        self.digest = digest
        self.size = size
        self.phase = Phase.FILLING
        self.total: int | None = None
        self.watermark = 0
        self.served = False
        self.found = False
        self.carrier: str | None = None
        self.error: UpstreamError | ProxyError | None = None
        self.hasher: Hasher | None = None
        self.settled = False
        self.promised = False
        self.background = background
        self.gives_way = False
        self.routes: dict[str, BlobRoute] = {}
        self.refusals: dict[str, UpstreamError] = {}
        self.partial: Partial | None = None
        self._shares = shares if shares is not None else Shares()
        self._shares.fills += 1
        self._window = Window(self._shares.window)
        self._readers = 0
        self._ended = False
        self._change = asyncio.Event()

    # --- readers ---

    async def changed(self) -> None:
        """Wait for the next change. Look at the fill without awaiting anything in between, lest one is missed."""
        await self._change.wait()

    @property
    def readable(self) -> int:
        """Return how many bytes from the beginning a reader may have: the last one only when all are verified."""
        if self.phase is Phase.DONE and self.total is not None:
            return self.total
        if self.total is None or self.phase is Phase.FAILED:
            return 0
        return min(self.watermark, max(0, self.total - 1))

    async def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`, which is below `readable`; OSError where the device fails."""
        self.served = True
        size = self._shares.segment(size)
        pieces = self._window.pieces(position, size)
        if pieces:
            # Readers at the tip share a large piece; only small ones are worth a copy.
            return pieces[0] if len(pieces[0]) >= _WORTH else b"".join(pieces)
        if self.partial is None:
            raise AssertionError("a fill has readable bytes only in a partial")
        return await self.partial.read(position, size)

    async def pieces(self, position: int, size: int) -> list[bytes]:
        """Return up to `size` bytes of [0, watermark) for hashing: without a copy where they are in memory."""
        pieces = self._window.pieces(position, size)
        if not pieces and self.partial is not None:
            pieces = [await self.partial.read(position, size)]
        return pieces

    def join(self, route: BlobRoute, *, background: bool = False) -> None:
        """Add a reader, who leaves once, and the way it knows to the bytes."""
        self._readers += 1
        self._shares.readers += 1
        self.background = self.background and background
        self.routes.setdefault(route.name, route)

    def leave(self) -> None:
        """Take a reader away."""
        self._readers -= 1
        self._shares.readers -= 1
        self._close_unused()

    def give_way(self) -> None:
        """Let the worker end: clients need what it uses. Nobody may join any more."""
        self.gives_way = True
        self._notify()

    # --- the worker ---

    @property
    def rule(self) -> str:
        """Return the prefix of the rule that the fill was begun by."""
        return next(iter(self.routes.values())).rule

    @property
    def awaited(self) -> bool:
        """Tell whether a reader may have been promised this blob: giving up would cut it off."""
        return self.total is not None or self.promised

    def attach(self, partial: Partial) -> None:
        """Go on with `partial`, of which no reader has had a byte."""
        self.detach()
        self.partial = partial

    def recall(self) -> None:
        """Take back what may be read: nobody has had a byte of it."""
        self.total = None
        self.watermark = 0
        self.carrier = None
        self._window.clear()

    def detach(self) -> None:
        """Forget a partial that was thrown away."""
        self.recall()
        if self.partial is not None:
            self.partial.close()
        self.partial = None

    def promise(self, total: int) -> None:
        """Tell readers the size; they may be answered now."""
        if self.total != total:
            self.total = total
            self._notify()

    def extend(self, chunks: list[bytes]) -> None:
        """Raise the watermark over `chunks`, which have been written."""
        self._window.limit = self._shares.window
        for chunk in chunks:
            self._window.append(self.watermark, chunk)
            self.watermark += len(chunk)
        self._notify()

    def reach(self, watermark: int) -> None:
        """Raise the watermark to what another process has written, now or before."""
        if watermark > self.watermark:
            self._window.clear()
            self.watermark = watermark
            self._notify()

    def next_route(self) -> BlobRoute | None:
        """Return a way to the bytes that has not been refused, None where none is left."""
        return next((route for name, route in self.routes.items() if name not in self.refusals), None)

    def refuse(self, route: BlobRoute, error: UpstreamError) -> None:
        """Give up a route; those who came by it and still wait are told at once."""
        self.refusals[route.name] = error
        self._notify()

    def finish(self) -> None:
        """Let readers have all bytes: they are verified."""
        self.phase = Phase.DONE
        self._notify()

    def stop(self) -> None:
        """Send each reader on its own way from where the bytes end."""
        self.phase = Phase.UNCACHED
        self._notify()

    def settle(self, hasher: Hasher | None) -> None:
        """Give readers that go on by themselves the hash of what there is."""
        self.hasher = hasher
        self.settled = True
        self._notify()

    def fail(self, error: UpstreamError | ProxyError) -> None:
        """Let readers have nothing more."""
        self.error = error
        self.phase = Phase.FAILED
        self._notify()

    def end(self) -> None:
        """Take the worker away: the partial goes with the last reader, its lock now."""
        self._ended = True
        self._shares.fills -= 1
        if self.partial is not None:
            self.partial.release()
        self._close_unused()

    def _notify(self) -> None:
        # A new event for the next change: who waits on the old one wakes exactly once.
        self._change.set()
        self._change = asyncio.Event()

    def _close_unused(self) -> None:
        if self._ended and self._readers == 0:
            if self.partial is not None:
                self.partial.close()
            self._window.clear()
