"""The owner of a fill: download, write, verify, commit."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import structlog

from proxy.config.settings import FillSettings
from proxy.core.fills.fill import Fill, Phase
from proxy.core.fills.hashing import PrefixHash, update
from proxy.core.fills.parallel import LARGE, ParallelTransfer, even_piece
from proxy.core.fills.ports import Origin, Partial, State
from proxy.core.fills.room import Room
from proxy.core.fills.spans import Spans
from proxy.core.fills.transfer import DiscontinuityError, Pipe, check_continuation, chunks_from, together
from proxy.core.ports import StorageFullError
from proxy.core.sources import BlobRoute
from proxy.model.digest import Digest
from proxy.model.errors import TRANSIENT, ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.telemetry.metrics import Metrics

_BATCHES = 4
"""Batches that may wait for the disk before the download pauses."""

SMALL = 256 << 10
"""Bytes up to which a blob is written at once, if all of it comes in a moment."""

_MOMENT = 0.02
"""Seconds: longer than that no reader waits for what is there."""

_LONGEST_DELAY = 20
"""Longest wait before a transfer is resumed, in `FillSettings.retry_delay`."""

_log = structlog.get_logger(__name__)


class WrongBytesError(UpstreamError):
    """All bytes are there, and they are not the content that the digest names."""

    def __init__(self, route: str, digest: Digest) -> None:
        """Keep the sentence and the name of the one route that all bytes came by ("" if not known)."""
        super().__init__(
            UpstreamFailure.GARBAGE,
            f"{route or 'the upstream'} sent bytes for {digest} that have another digest; they were thrown away",
        )
        self.route = route


class _StartAgainError(Exception):
    """The bytes that are there cannot be continued, and no reader has had one of them."""


class _GivesWayError(Exception):
    """Nobody reads the fill, and clients need what it uses."""


class Owner:
    """Bring a fill to its end with the partials that this process owns.

    Attempts are counted over all partials of the fill.
    """

    def __init__(self, fill: Fill, settings: FillSettings, room: Room, metrics: Metrics) -> None:
        """Begin with no attempt made."""
        self._fill = fill
        self._settings = settings
        self._room = room
        self._metrics = metrics
        self._attempts = 0
        self._restarts = 0
        self._ahead = Spans()
        self._alone = False
        self._sources: set[str] = set()
        self._hashing = PrefixHash(fill, settings.batch)
        self._small = _small(settings)
        self._unkept: StorageFullError | None = None

    async def run(self, partial: Partial) -> None:
        """Go on from the watermark of `partial` until the fill is DONE, UNCACHED or FAILED.

        A fill that is still FILLING then must open its digest again: the partial was thrown away. Raises OSError
        where the device fails. A run that is cancelled leaves the bytes for whoever takes over.
        """
        fill = self._fill
        fill.reach(partial.watermark)
        self._ahead = Spans()
        self._unkept = None
        self._sources = {partial.origin.route} if partial.watermark else set()
        hashing = self._hashing = PrefixHash(fill, self._settings.batch)
        works = [self._download(partial), hashing.follow(partial)]
        if gives_way(fill, self._settings):
            works.append(self._heed(partial))
        try:
            await together(*works)
            if fill.phase is Phase.UNCACHED:
                await settle(fill, hashing)
            else:
                await self._commit(partial, hashing)
        except _GivesWayError:
            await self._give_way(partial)
        except _StartAgainError as reason:
            # A new file, never this one truncated: other processes may be reading it.
            _log.info("fill.restarted", digest=str(fill.digest), watermark=partial.watermark, reason=str(reason))
            await partial.abandon(State.GONE)
        except WrongBytesError as error:
            if not error.route:
                with suppress(StorageFullError):  # followers would blame the last route: no more than a nuisance
                    await partial.begin(partial.watermark, Origin())
            await partial.abandon(State.FAILED)
            route = error.route or partial.origin.route
            self._metrics.verify_failures.labels(self._rule(route)).inc()
            _log.warning("fill.failed", digest=str(fill.digest), route=route, reason=error.message)
            fill.fail(error)
        except UpstreamError as error:
            if partial.watermark == 0:
                await partial.abandon(State.GONE)
            # What there is stays for whoever comes next; a follower with a route of its own takes over now.
            partial.release()
            _log.warning("fill.failed", digest=str(fill.digest), watermark=partial.watermark, reason=error.message)
            fill.fail(error)

    # --- download ---

    async def _download(self, partial: Partial) -> None:
        """Append until the blob is complete or, with the fill UNCACHED, cannot be kept."""
        try:
            if self._fill.size is not None:
                await self._room.admit(self._fill, self._fill.size)
            while partial.total is None or partial.watermark < partial.total:
                await self._attempt(partial)
        except StorageFullError as error:
            await partial.abandon(State.UNCACHED)
            self._room.drop(self._fill)
            _log.warning("fill.uncached", digest=str(self._fill.digest), watermark=partial.watermark, reason=str(error))
            self._fill.stop()

    async def _attempt(self, partial: Partial) -> None:
        """Use the first route that is left; judge it where it fails."""
        route = self._fill.next_route()
        if route is None:
            raise next(reversed(self._fill.refusals.values()))
        before = partial.watermark
        try:
            await self._transfer(partial, route)
        except WrongBytesError:
            raise
        except UpstreamError as error:
            progress = partial.watermark > before
            self._attempts = 1 if progress else self._attempts + 1
            # Servers behind one name that do not agree on the blob may still give it to one connection.
            self._alone = self._alone and (not progress or isinstance(error, DiscontinuityError))
            await self._judge(partial, route, error)

    async def _transfer(self, partial: Partial, route: BlobRoute) -> None:
        """Append what `route` gives, until the blob is complete or `UpstreamError` is raised."""
        fill = self._fill
        start = partial.watermark
        # Entity tags of different servers have nothing to do with each other.
        validator = partial.origin.validator if partial.origin.route == route.name else ""
        stop = self._first_stop(partial, route)
        async with AsyncExitStack() as held:
            body = await held.enter_async_context(route.open(start, validator, stop))
            check_continuation(route.name, body, start, partial.total, validator)
            if body.total != fill.size:
                await self._room.admit(fill, body.total)
            origin = Origin(route.name, body.validator)
            in_pieces = stop is not None and (body.stop < body.total or bool(self._ahead))
            # Nothing of it is there, and nothing will be if the process is killed: as long as that takes a moment,
            # it is no loss.
            at_once = not in_pieces and partial.total is None and start == 0 == body.start and body.total <= self._small
            if not at_once and (partial.total is None or partial.origin != origin):
                await partial.begin(body.total, origin)
            if start:
                _log.info("fill.resumed", digest=str(fill.digest), route=route.name, watermark=start)
            fill.carrier = route.name
            self._sources.add(route.name)
            if not at_once:
                fill.promise(body.total)
            if in_pieces:
                transfer = ParallelTransfer(fill, partial, route, self._ahead, self._settings, self._metrics)
                self._alone = True  # should nothing come of it
                await transfer.run(body, held)
                return
            self._ahead.clear()
            pipe = Pipe(_BATCHES * self._settings.batch)
            write = self._write_at_once(partial, pipe, body.total, origin) if at_once else self._write(partial, pipe)
            await together(pipe.receive(chunks_from(route.name, body, start)), write)

    def _first_stop(self, partial: Partial, route: BlobRoute) -> int | None:
        """Return where the first of several pieces ends; None where the blob comes by one connection to its end.

        So it does while its size is not known: the answer to a request for a part is an error if the blob is empty.
        """
        start, piece = partial.watermark, int(self._settings.piece)
        total = self._fill.size if partial.total is None else partial.total
        if self._alone or route.parallel == 1 or total is None:
            return None
        if total - start <= LARGE * piece and not self._ahead:
            return None
        piece = even_piece(total, route.parallel, piece)
        return min(start + piece, self._ahead.missing(start, total)[0].stop)

    async def _write(self, partial: Partial, pipe: Pipe) -> None:
        hashing = self._hashing
        while chunks := await pipe.take(self._settings.batch):
            if hashing.position == partial.watermark:
                await hashing.beside(partial.append(chunks), chunks)
            else:
                await partial.append(chunks)  # bytes of before are being hashed, and these after them
            self._metrics.bytes.labels("stored").inc(sum(map(len, chunks)))
            self._fill.extend(chunks)

    async def _write_at_once(self, partial: Partial, pipe: Pipe, total: int, origin: Origin) -> None:
        """Write a small blob by one call if all of it comes in a moment and is right; otherwise as any other."""
        await pipe.settle(_MOMENT)
        chunks = await pipe.take(self._small) if pipe.finished else []
        hasher = self._fill.digest.hasher()
        await update(hasher, chunks)
        if pipe.finished and self._fill.digest.matches(hasher):
            try:
                await partial.store(total, origin, chunks)
            except StorageFullError as error:
                # Where bytes are missing they are written again below. That the device did not take them is told by
                # the kernel once: the next fsync would say that all is well.
                self._unkept = error if partial.watermark == total else None
        elif pipe.finished and sum(map(len, chunks)) == total:
            # Nobody was answered yet, here or by other processes, which do not even know a size: all can be told.
            raise WrongBytesError(origin.route, self._fill.digest)
        self._fill.promise(total)
        if partial.total is None:
            await partial.begin(total, origin)
        if chunks:
            if partial.watermark == 0:
                await partial.append(chunks)
            self._hashing.adopt(hasher, total)
            self._metrics.bytes.labels("stored").inc(total)
        self._fill.extend(chunks)
        if partial.state is State.COMMITTED:
            self._fill.finish()  # now, so that readers are woken once, and have all bytes then
        else:
            await self._write(partial, pipe)

    async def _judge(self, partial: Partial, route: BlobRoute, error: UpstreamError) -> None:
        """Wait before the next attempt, or give up the route, or (by raising) what is there."""
        fill, attempts = self._fill, self._settings.attempts
        longest = self._settings.retry_delay.total_seconds()
        delay = random.uniform(0, longest * min(2 ** (self._attempts - 1), _LONGEST_DELAY))  # noqa: S311 - jitter
        delay = max(delay, min(error.retry_after or 0, longest * _LONGEST_DELAY))
        mismatch = isinstance(error, DiscontinuityError)
        if mismatch and partial.total is not None and not fill.served and self._restarts < attempts:
            self._restarts += 1
            await asyncio.sleep(delay)
            if not fill.served:  # still: a reader may have come meanwhile
                fill.recall()
                raise _StartAgainError(error.message)
        # Before anyone was promised the blob an error is a better answer than a late one: the route has used up
        # its own time for repeats.
        repeatable = mismatch or error.failure in TRANSIENT
        if self._attempts < attempts and fill.awaited and repeatable:
            await asyncio.sleep(delay)
        else:
            _log.info("fill.route_refused", digest=str(fill.digest), route=route.name, reason=error.message)
            fill.refuse(route, error)
            self._attempts = 0

    # --- giving way ---

    async def _heed(self, partial: Partial) -> None:
        """Watch for the call to give way, as long as there is something to download for nobody."""
        fill = self._fill
        while fill.background and fill.phase is Phase.FILLING and partial.total != partial.watermark:
            if fill.gives_way:
                raise _GivesWayError
            await fill.changed()

    async def _give_way(self, partial: Partial) -> None:
        """Leave the bytes for whoever comes next."""
        _log.debug("fill.gave_way", digest=str(self._fill.digest), watermark=partial.watermark)
        if partial.watermark == 0:
            await partial.abandon(State.GONE)
        partial.release()
        self._fill.fail(ProxyError(ErrorCode.UNAVAILABLE))

    # --- the end ---

    async def _commit(self, partial: Partial, hashing: PrefixHash) -> None:
        fill = self._fill
        if not fill.digest.matches(hashing.hasher):
            # Where several gave a part of the bytes, nobody knows who was wrong.
            raise WrongBytesError(partial.origin.route if len(self._sources) == 1 else "", fill.digest)
        try:
            if self._unkept is not None:
                raise self._unkept
            if partial.state is not State.COMMITTED:
                await partial.commit()
        except StorageFullError as error:
            # Verified all the same: who reads now gets everything, only the store stays without it.
            await partial.abandon(State.UNCACHED)
            _log.warning("fill.uncached", digest=str(fill.digest), watermark=fill.watermark, reason=str(error))
        else:
            _log.info("fill.committed", digest=str(fill.digest), size=fill.watermark, route=partial.origin.route)
        fill.promise(fill.watermark)
        fill.finish()

    def _rule(self, route: str) -> str:
        routes = self._fill.routes
        return (routes.get(route) or next(iter(routes.values()))).rule


def gives_way(fill: Fill, settings: FillSettings) -> bool:
    """Tell whether a fill ends when clients need what it uses.

    Not that of a small blob: it has come sooner than the request for it is made once more.
    """
    return fill.background and (fill.size is None or fill.size > _small(settings))


def _small(settings: FillSettings) -> int:
    return min(SMALL, settings.batch)


async def settle(fill: Fill, hashing: PrefixHash) -> None:
    """Hash what an UNCACHED fill has, for the readers that go on by themselves.

    Where all bytes are there (an owner that hung before its commit), this verifies them: the fill is DONE or FAILED.
    """
    try:
        await hashing.reach(fill.watermark)
    except OSError as error:
        _log.warning("fill.unreadable", digest=str(fill.digest), watermark=fill.watermark, reason=str(error))
        fill.settle(None)
        return
    fill.settle(hashing.hasher)
    if fill.watermark == fill.total:
        if fill.digest.matches(hashing.hasher):
            fill.finish()
        else:
            fill.fail(WrongBytesError("", fill.digest))
