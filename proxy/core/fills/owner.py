"""The owner of a fill: download, write, verify, commit."""

import asyncio
import random

import structlog

from proxy.config.settings import FillSettings
from proxy.core.fills.fill import Fill, Phase
from proxy.core.fills.hashing import PrefixHash
from proxy.core.fills.ports import Origin, Partial, State
from proxy.core.fills.room import Room
from proxy.core.fills.transfer import DiscontinuityError, Pipe, check_continuation, chunks_from, together
from proxy.core.ports import StorageFullError
from proxy.core.sources import BlobRoute
from proxy.model.digest import Digest
from proxy.model.errors import TRANSIENT, UpstreamError, UpstreamFailure
from proxy.telemetry.metrics import Metrics

_BATCHES = 4
"""Batches that may wait for the disk before the download pauses."""

_LONGEST_DELAY = 20
"""Longest wait before a transfer is resumed, in `FillSettings.retry_delay`."""

_log = structlog.get_logger(__name__)


class WrongBytesError(UpstreamError):
    """All bytes are there, and they are not the content that the digest names."""

    def __init__(self, route: str, digest: Digest) -> None:
        """Keep the sentence; the failure is GARBAGE."""
        super().__init__(
            UpstreamFailure.GARBAGE,
            f"{route or 'the upstream'} sent bytes for {digest} that have another digest; they were thrown away",
        )


class _StartAgainError(Exception):
    """The bytes that are there cannot be continued, and no reader has had one of them."""


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

    async def run(self, partial: Partial) -> None:
        """Go on from the watermark of `partial` until the fill is DONE, UNCACHED or FAILED.

        A fill that is still FILLING then must open its digest again: the partial was thrown away. Raises OSError
        where the device fails. A run that is cancelled leaves the bytes for whoever takes over.
        """
        fill = self._fill
        fill.reach(partial.watermark)
        hashing = PrefixHash(fill, self._settings.batch)
        try:
            await together(self._download(partial), hashing.follow(partial))
            if fill.phase is Phase.UNCACHED:
                await settle(fill, hashing)
            else:
                await self._commit(partial, hashing)
        except _StartAgainError as reason:
            # A new file, never this one truncated: other processes may be reading it.
            _log.info("fill.restarted", digest=str(fill.digest), watermark=partial.watermark, reason=str(reason))
            await partial.abandon(State.GONE)
        except WrongBytesError as error:
            await partial.abandon(State.FAILED)
            self._metrics.verify_failures.labels(self._rule(partial)).inc()
            _log.warning("fill.failed", digest=str(fill.digest), route=partial.origin.route, reason=error.message)
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
        except UpstreamError as error:
            self._attempts = 1 if partial.watermark > before else self._attempts + 1
            await self._judge(partial, route, error)

    async def _transfer(self, partial: Partial, route: BlobRoute) -> None:
        """Append what one answer of `route` gives, until the blob is complete or `UpstreamError` is raised."""
        fill = self._fill
        start = partial.watermark
        # Entity tags of different servers have nothing to do with each other.
        validator = partial.origin.validator if partial.origin.route == route.name else ""
        async with route.open(start, validator) as body:
            check_continuation(route.name, body, start, partial.total, validator)
            if body.total != fill.size:
                await self._room.admit(fill, body.total)
            origin = Origin(route.name, body.validator)
            if partial.total is None or partial.origin != origin:
                await partial.begin(body.total, origin)
            if start:
                _log.info("fill.resumed", digest=str(fill.digest), route=route.name, watermark=start)
            fill.carrier = route.name
            fill.promise(body.total)
            pipe = Pipe(_BATCHES * self._settings.batch)
            await together(pipe.receive(chunks_from(route.name, body, start)), self._write(partial, pipe))

    async def _write(self, partial: Partial, pipe: Pipe) -> None:
        while chunks := await pipe.take(self._settings.batch):
            await partial.append(chunks)
            self._metrics.bytes.labels("stored").inc(sum(map(len, chunks)))
            self._fill.extend(chunks)

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

    # --- the end ---

    async def _commit(self, partial: Partial, hashing: PrefixHash) -> None:
        fill = self._fill
        if not fill.digest.matches(hashing.hasher):
            raise WrongBytesError(partial.origin.route, fill.digest)
        try:
            await partial.commit()
        except StorageFullError as error:
            # Verified all the same: who reads now gets everything, only the store stays without it.
            await partial.abandon(State.UNCACHED)
            _log.warning("fill.uncached", digest=str(fill.digest), watermark=fill.watermark, reason=str(error))
        else:
            _log.info("fill.committed", digest=str(fill.digest), size=fill.watermark, route=partial.origin.route)
        fill.promise(fill.watermark)
        fill.finish()

    def _rule(self, partial: Partial) -> str:
        routes = self._fill.routes
        return (routes.get(partial.origin.route) or next(iter(routes.values()))).rule


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
