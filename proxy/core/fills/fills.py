"""The fills of this process: at most one per digest, whoever asks."""

import asyncio

import structlog
from cachetools import TTLCache

from proxy.config.settings import FillSettings, UpstreamSettings
from proxy.core.fills.bypass import Bypass, BypassSource
from proxy.core.fills.fill import Fill, Phase
from proxy.core.fills.follower import Follower
from proxy.core.fills.owner import SMALL, Owner, WrongBytesError, gives_way
from proxy.core.fills.ports import PartialStore, State
from proxy.core.fills.room import Room
from proxy.core.fills.tail import TailSource
from proxy.core.fills.window import Shares
from proxy.core.ports import BlobStore, Clock, StorageFullError
from proxy.core.sources import BlobRoute, BlobSource
from proxy.core.tasks import Tasks
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.telemetry.metrics import Metrics

_REMEMBERED = 4096
"""Routes by which the bytes of a digest were wrong that are kept in mind at a time."""

_log = structlog.get_logger(__name__)


class Fills:
    """Serve blobs: from the store, or while they are being fetched.

    For each digest one background task downloads, or follows the process that does; any number of clients read what
    is there, each at its own speed. A client that leaves changes nothing.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands in each part
        self,
        partials: PartialStore,
        blobs: BlobStore,
        tasks: Tasks,
        clock: Clock,
        settings: FillSettings,
        upstreams: UpstreamSettings,
        min_free: int,
        metrics: Metrics,
    ) -> None:
        """Start without fills. `min_free` is the space in bytes that fills leave free."""
        self._partials = partials
        self._blobs = blobs
        self._tasks = tasks
        self._settings = settings
        self._metrics = metrics
        self._room = Room(blobs, clock, min_free)
        # An owner is silent while a transfer stalls, and then while the next one gets its answer.
        patience = upstreams.stall_timeout + upstreams.budget
        self._follower = Follower(clock, settings.poll.total_seconds(), patience.total_seconds(), settings.batch)
        self._fills: dict[Digest, Fill] = {}
        self._shares = Shares()
        self._idle = asyncio.Event()
        # By route: bytes that one upstream gave wrong say nothing about another's.
        self._failed: TTLCache[tuple[Digest, str], str] = TTLCache(
            _REMEMBERED, settings.failed_ttl.total_seconds(), timer=clock.monotonic
        )

    async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> BlobSource:
        """Return a source of the blob as soon as its size is known; the caller closes it.

        `size`, from a descriptor, lets the answer begin at `headers_deadline` although upstream has not answered. A
        source whose status is `hit` or `collapsed` did not come by `route`: that this repository may serve the blob
        must be shown otherwise. Raises `UpstreamError` where no bytes can be had by `route`, or a moment ago they
        were wrong, and `ProxyError` UNAVAILABLE while the server shuts down.
        """
        for _ in range(self._settings.attempts - 1):
            try:
                return await self._join(digest, route, size)
            except WrongBytesError as error:
                # Another's bytes, or what a dead process had left, say nothing about ours. They were thrown away.
                if error.route == route.name:
                    raise
        return await self._join(digest, route, size)

    async def _join(self, digest: Digest, route: BlobRoute, size: int | None) -> BlobSource:
        fill = self._fills.get(digest)
        joined = fill is not None
        if fill is None:
            fill = self._begin(digest, size, route)
            self._make_way(route)
        else:
            self._metrics.fills_joined.inc()
        fill.join(route)
        source: BlobSource | None = None
        try:
            source = await self._answer(fill, route, size, joined=joined)
        finally:
            if not isinstance(source, TailSource):
                fill.leave()
        return source

    async def keep(self, digest: Digest, route: BlobRoute, size: int) -> None:
        """Return once the blob is stored; unless it is on its way already, fetch it behind all that clients ask for.

        It is begun, and goes on, only while no client waits for a blob that is fetched by the same rule; a client who
        asks for this one joins. It never takes the room of another blob. Raises `StorageFullError` where the store
        has no room, `UpstreamError` where no bytes can be had by `route`, and `ProxyError` UNAVAILABLE while the
        server shuts down.
        """
        while await self._blobs.stat(digest) is None:
            fill = self._fills.get(digest)
            if fill is None and self._is_busy(route.rule):
                await self._idle.wait()
                continue
            if fill is None:
                fill = self._begin(digest, size, route, background=True)
            fill.join(route, background=True)
            try:
                while fill.phase is Phase.FILLING:
                    await fill.changed()
            finally:
                fill.leave()
            if fill.phase is Phase.UNCACHED:
                raise StorageFullError(f"there is no room for {digest}")
            if fill.phase is Phase.DONE:
                return
            if not fill.gives_way:
                raise fill.refusals.get(route.name) or fill.error or AssertionError("a failed fill says why")

    def _is_busy(self, rule: str) -> bool:
        """Tell whether clients wait for blobs that are fetched by this rule."""
        return any(not fill.background and fill.rule == rule for fill in self._fills.values())

    def _make_way(self, route: BlobRoute) -> None:
        """End what is fetched by the same rule for nobody; its bytes stay, and are gone on from later."""
        others = [other for other in self._fills.values() if gives_way(other, self._settings)]
        for other in [other for other in others if other.rule == route.rule]:
            # Who asks for it from now on begins anew, and takes over as from another process.
            del self._fills[other.digest]
            other.give_way()

    async def _answer(self, fill: Fill, route: BlobRoute, size: int | None, *, joined: bool) -> BlobSource:
        """Wait until it is clear what the blob is served from, no longer than the deadline where its size is known."""
        total = size
        try:
            async with asyncio.timeout(None if size is None else self._settings.headers_deadline.total_seconds()):
                await _wait(fill, route)
                total = size if fill.total is None else fill.total
                if fill.phase is Phase.UNCACHED and fill.readable == 0:
                    return await BypassSource.open(fill.digest, route, self._settings, self._metrics, self._tasks)
        except TimeoutError:
            pass
        if total is None:
            raise AssertionError("a fill that is answered knows its size")
        fill.promised = True
        unkept = fill.phase is Phase.UNCACHED
        status = CacheStatus(hit=True)
        if not fill.found:
            status = CacheStatus(
                forward=Forward.MISS,
                collapsed=joined or fill.carrier != route.name,
                stored=not unkept,
                bypass=unkept,
            )
        bypass = Bypass(fill.digest, total, route, self._settings, self._metrics)
        return TailSource(fill, route, total, status, bypass)

    def _begin(self, digest: Digest, size: int | None, route: BlobRoute, *, background: bool = False) -> Fill:
        if self._tasks.draining:
            raise ProxyError(ErrorCode.UNAVAILABLE)
        failed = self._failed.get((digest, route.name))
        if failed is not None:
            raise UpstreamError(UpstreamFailure.GARBAGE, failed)
        fill = Fill(digest, size, background=background, shares=self._shares)
        self._tasks.spawn(f"fill {digest}", self._work(fill))
        self._fills[digest] = fill
        return fill

    async def _work(self, fill: Fill) -> None:
        """Bring `fill` to its end."""
        self._metrics.fills_active.inc()
        owner = Owner(fill, self._settings, self._room, self._metrics)
        try:
            while fill.phase is Phase.FILLING:
                fill.detach()
                await self._advance(fill, owner)
        except (StorageFullError, OSError) as error:
            # The store cannot be written, or its device fails: no reason to leave clients without their bytes.
            _log.warning("fill.uncached", digest=str(fill.digest), watermark=fill.watermark, reason=str(error))
            fill.settle(fill.digest.hasher() if fill.watermark == 0 else None)
            fill.stop()
        finally:
            if fill.phase is Phase.FILLING:  # cancelled by the shutdown, or broken
                fill.fail(ProxyError(ErrorCode.UNAVAILABLE))
            if not fill.settled:  # readers of an UNCACHED fill wait for it
                fill.settle(None)
            if isinstance(fill.error, WrongBytesError) and fill.error.route:
                self._failed[fill.digest, fill.error.route] = fill.error.message
            if self._fills.get(fill.digest) is fill:
                del self._fills[fill.digest]
            self._room.drop(fill)
            fill.end()
            idle, self._idle = self._idle, asyncio.Event()
            idle.set()
            self._metrics.fills_active.dec()

    async def _advance(self, fill: Fill, owner: Owner) -> None:
        """Use what there is of the blob to its end; a fill that stays FILLING must be opened again."""
        partial = await self._partials.open(fill.digest)
        fill.attach(partial)
        if partial.state is State.FOLLOWED:
            await self._follower.run(fill, partial)
        elif partial.state is State.COMMITTED:
            fill.found = not fill.awaited
            fill.reach(partial.watermark)
            fill.promise(partial.watermark)
            fill.finish()
        if partial.state is State.OWNED and fill.phase is Phase.FILLING:
            if fill.size is None or fill.size > SMALL:  # of a small blob one line, at its end, tells as much
                _log.info("fill.started", digest=str(fill.digest), watermark=partial.watermark)
            await owner.run(partial)


async def _wait(fill: Fill, route: BlobRoute) -> None:
    """Wait until `fill` can answer who came by `route`; raise where it cannot.

    Who waits while its own route is refused is told so, though another's may bring the bytes a moment later.
    """
    while True:
        if fill.phase is Phase.FAILED:
            raise fill.refusals.get(route.name) or fill.error or AssertionError("a failed fill says why")
        # A blob without bytes has no last byte to hold back: who asks for one waits until it is verified.
        if fill.phase is not Phase.FILLING or fill.total:
            return
        await fill.changed()
        if route.name in fill.refusals:
            raise fill.refusals[route.name]
