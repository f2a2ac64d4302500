"""A large blob by several connections at a time, each bringing one piece after the other.

Pieces are asked for in order, so that the bytes which readers wait for are always on their way. What comes ahead of
the watermark is written where it belongs and made readable once the bytes before it are there: memory holds no more
than the chunks under way, and a process that takes over goes on from the watermark as ever.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog

from proxy.config.settings import FillSettings
from proxy.core.fills.fill import Fill
from proxy.core.fills.ports import Partial
from proxy.core.fills.spans import Span, Spans
from proxy.core.fills.transfer import DiscontinuityError, check_continuation, chunks_from, closing, joined, together
from proxy.core.ports import BlobBody
from proxy.core.sources import BlobRoute
from proxy.model.errors import UpstreamError
from proxy.telemetry.metrics import Metrics

LARGE = 2
"""Pieces that a blob must be longer than to be worth a second connection: the first has most of it by then."""

_AHEAD = 2
"""Pieces a connection that are begun ahead of the watermark: what a killed process may lose, and a slow one delay."""

_BATCHES = 4
"""Batches that may wait for the disk before the connections pause."""

_log = structlog.get_logger(__name__)


def even_piece(total: int, connections: int, most: int) -> int:
    """Return how many of `total` bytes, `most` at the most, to ask for at a time: so that all connections end at once.

    Of five pieces to four connections, the last would come by one of them while three have nothing to do.
    """
    return -(-total // (connections * -(-total // (connections * most))))


class Pieces:
    """The parts of a blob that nobody fetches yet, handed out in order."""

    def __init__(self, missing: Sequence[Span], size: int) -> None:
        """Begin with the spans `missing`, in order; a piece has up to `size` bytes."""
        self._missing = list(missing)
        self._size = size

    @property
    def first(self) -> int | None:
        """Return where the next piece begins; None where none is left."""
        return self._missing[0].start if self._missing else None

    @property
    def count(self) -> int:
        """Return how many pieces there are."""
        return sum(-((span.start - span.stop) // self._size) for span in self._missing)

    def take(self) -> Span:
        """Hand out the next piece."""
        span = self._missing.pop(0)
        piece = Span(span.start, min(span.start + self._size, span.stop))
        if piece.stop < span.stop:
            self._missing.insert(0, Span(piece.stop, span.stop))
        return piece

    def take_from(self, start: int) -> list[Span]:
        """Hand out all that is left from `start` on, at once."""
        taken = [span for span in self._missing if span.start >= start]
        self._missing = [span for span in self._missing if span.start < start]
        return taken

    def put_back(self, spans: Sequence[Span]) -> None:
        """Take back what was not fetched."""
        self._missing = sorted([*self._missing, *spans])


class Arrivals:
    """Bytes between the connections and the store, bounded by `limit` bytes and one chunk a connection."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._ended = False
        self._error: UpstreamError | None = None
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._room.set()

    async def put(self, position: int, chunk: bytes) -> None:
        """Hand on bytes that belong at `position`; wait where too many wait already."""
        await self._room.wait()
        self._chunks.append((position, chunk))
        self._size += len(chunk)
        if self._size >= self._limit:
            self._room.clear()
        self._filled.set()

    def end(self, error: UpstreamError | None) -> None:
        """Say that no more come; `take` raises `error` after the last."""
        self._ended, self._error = True, error
        self._filled.set()

    async def take(self, size: int) -> list[tuple[int, list[bytes]]]:
        """Return what is there, about `size` bytes at most, as runs in order of position; nothing at the end."""
        await self._filled.wait()
        if not self._chunks:
            if self._error is not None:
                raise self._error
            return []
        runs: dict[int, tuple[int, list[bytes]]] = {}  # by where they stop
        count = 0
        while self._chunks and count < size:
            position, chunk = self._chunks.popleft()
            start, chunks = runs.pop(position, (position, []))
            chunks.append(chunk)
            runs[position + len(chunk)] = start, chunks
            count += len(chunk)
        self._size -= count
        if self._size < self._limit:
            self._room.set()
        if not self._chunks and not self._ended:
            self._filled.clear()
        return sorted((start, joined(chunks)) for start, chunks in runs.values())


class ParallelTransfer:
    """Append what is missing of a blob by up to `route.parallel` connections.

    `ahead` are the bytes above the watermark that were written before; it is kept up to date, and still tells after a
    transfer that failed what need not be asked for again.
    """

    def __init__(
        self,
        fill: Fill,
        partial: Partial,
        route: BlobRoute,
        ahead: Spans,
        settings: FillSettings,
        metrics: Metrics,
    ) -> None:
        """Ask nothing yet."""
        self._fill = fill
        self._partial = partial
        self._route = route
        self._ahead = ahead
        self._settings = settings
        self._metrics = metrics
        self._piece: int = settings.piece
        self._pieces = Pieces([], self._piece)
        self._arrivals = Arrivals(_BATCHES * settings.batch)
        self._total = 0
        self._validator = ""
        self._busy = 0
        self._error: UpstreamError | None = None
        self._moved = asyncio.Event()

    async def run(self, body: BlobBody, held: AsyncExitStack) -> None:
        """Complete the blob; raise `UpstreamError` where no connection can go on.

        `body` is the answer to the request for the first piece; `held` is closed once that is there, since an
        upstream may allow no more connections than those of the pieces.
        """
        self._total, self._validator = body.total, body.validator
        missing = self._ahead.missing(self._partial.watermark, body.total)
        self._piece = even_piece(body.total, self._route.parallel, self._settings.piece)
        self._pieces = Pieces(missing, self._piece)
        first = self._pieces.take()
        if first.stop > body.stop:
            self._pieces.put_back([Span(body.stop, first.stop)])
            first = Span(first.start, body.stop)
        others = min(self._route.parallel - 1, self._pieces.count)
        _log.debug("fill.parallel", digest=str(self._fill.digest), connections=others + 1, missing=len(missing))
        await together(self._receive(first, body, held, others), self._write())

    # --- connections ---

    async def _receive(self, first: Span, body: BlobBody, held: AsyncExitStack, others: int) -> None:
        self._busy = 1
        await together(self._begin(first, body, held), *(self._connect() for _ in range(others)))
        self._arrivals.end(self._error if self._pieces.first is not None else None)

    async def _begin(self, first: Span, body: BlobBody, held: AsyncExitStack) -> None:
        """Bring the first piece by the answer that is there, then others."""
        try:
            progress = await self._bring(first, body)
        finally:
            await held.aclose()
        if progress:
            await self._connect()

    async def _connect(self) -> None:
        """Bring piece after piece.

        A connection that brought nothing ends, and leaves its piece to the others: an upstream that wants fewer of
        them, or whose servers do not agree on the blob, is left with fewer.
        """
        while (piece := await self._next()) is not None:
            if not await self._fetch(piece):
                return

    async def _next(self) -> Span | None:
        """Wait for a piece that may be begun; None where there will be none."""
        reach = _AHEAD * self._route.parallel * self._piece
        while True:
            first = self._pieces.first
            if first is not None and first < self._partial.watermark + reach:
                self._busy += 1
                return self._pieces.take()
            if first is None and self._busy == 0:
                return None
            await self._moved.wait()

    async def _fetch(self, piece: Span) -> bool:
        """Bring `piece` by a request of its own; tell whether anything came."""
        route = self._route
        try:
            async with route.open(piece.start, self._validator, piece.stop) as body:
                check_continuation(route.name, body, piece.start, self._total, self._validator)
                if body.stop < piece.stop:
                    raise DiscontinuityError(f"{route.name} answered with less of the blob than it was asked for")
                return await self._bring(piece, body)
        except UpstreamError as error:
            self._give_back([piece], error)
            return False

    async def _bring(self, piece: Span, body: BlobBody) -> bool:
        """Hand on `piece` out of `body`, and whatever more it holds that nobody else fetches; tell whether any came.

        What does not come is given back. A body that goes on behind its piece is that of an upstream which ignores
        ranges (RFC 9110 §14.2): it then brings all the rest.
        """
        wanted = deque([piece])
        if body.stop == self._total > piece.stop:
            wanted.extend(self._pieces.take_from(piece.stop))
        position = piece.start
        try:
            async with closing(chunks_from(self._route.name, body, position)) as chunks:
                async for chunk in chunks:
                    end = position + len(chunk)
                    while wanted and wanted[0].start < end:
                        span = wanted[0]
                        stop = min(span.stop, end)
                        await self._arrivals.put(span.start, chunk[span.start - position : stop - position])
                        wanted.popleft()
                        if stop < span.stop:
                            wanted.appendleft(Span(stop, span.stop))
                    position = end
                    if not wanted and position < body.stop:
                        break
        except UpstreamError as error:
            self._give_back(wanted, error)
            came = not wanted or wanted[0].start > piece.start
            if came:
                longest = self._settings.retry_delay.total_seconds()
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter
            return came
        self._busy -= 1
        self._notify()
        return True

    def _give_back(self, spans: Sequence[Span] | deque[Span], error: UpstreamError) -> None:
        _log.info("fill.piece_lost", digest=str(self._fill.digest), route=self._route.name, reason=error.message)
        self._error = error
        self._busy -= 1
        self._pieces.put_back(list(spans))
        self._notify()

    # --- the store ---

    async def _write(self) -> None:
        partial, fill = self._partial, self._fill
        while runs := await self._arrivals.take(self._settings.batch):
            for position, chunks in runs:
                size = sum(map(len, chunks))
                if position == partial.watermark:
                    await partial.append(chunks)
                    fill.extend(chunks)
                    reached = self._ahead.reach(partial.watermark)
                    if reached > partial.watermark:
                        await partial.advance(reached)
                        fill.reach(reached)
                else:
                    await partial.write_ahead(position, chunks)
                    self._ahead.add(position, position + size)
                self._metrics.bytes.labels("stored").inc(size)
            self._notify()

    def _notify(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
