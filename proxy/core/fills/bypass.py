"""Bytes passed from upstream to one client from position P on, without being kept.

The one answer to every way in which a fill cannot serve: no room before it began, a disk that fills up in the middle,
a store that cannot be written, an owner that hangs.

The digest is verified, and the end held back until it is right, wherever the bytes before P are known: P is 0, or the
fill has hashed what its readers had. A range that begins elsewhere cannot be verified here, nor can one that ends
before the last byte: the client verifies the whole.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import structlog

from proxy.config.settings import FillSettings
from proxy.core.fills.hashing import update
from proxy.core.fills.transfer import check_continuation, chunks_from, closing
from proxy.core.ports import BlobBody
from proxy.core.sources import BlobRoute, TransferError
from proxy.core.tasks import Tasks
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest, Hasher
from proxy.model.errors import TRANSIENT, UpstreamError, UpstreamFailure
from proxy.telemetry.metrics import Metrics

_LONGEST_DELAY = 20
"""Longest wait before a transfer is resumed, in `FillSettings.retry_delay`."""

_log = structlog.get_logger(__name__)


class Bypass:
    """Pass the blob `digest` of `total` bytes through by `route`; transfers that break off are resumed."""

    def __init__(self, digest: Digest, total: int, route: BlobRoute, settings: FillSettings, metrics: Metrics) -> None:
        """Ask nothing yet."""
        self._digest = digest
        self._total = total
        self._route = route
        self._settings = settings
        self._metrics = metrics

    @property
    def segment(self) -> int:
        """Return the most bytes that are yielded at a time."""
        return self._settings.segment

    async def stream(self, position: int, stop: int, hasher: Hasher | None) -> AsyncIterator[bytes]:
        """Yield the bytes [position, stop); raise `TransferError` where that cannot be done.

        `hasher` has been fed the bytes before `position`, None where nobody knows them. The transfer is closed at
        `stop`.
        """
        attempts = 0
        validator = ""
        while position < stop:
            before = position
            try:
                async with self._route.open(position, validator) as body:
                    check_continuation(self._route.name, body, position, self._total, validator)
                    validator = body.validator
                    async with closing(chunks_from(self._route.name, body, position)) as chunks:
                        async for chunk in chunks:
                            data = chunk[: stop - position]
                            await self._verify(data, position, hasher)
                            for offset in range(0, len(data), self._settings.segment):
                                segment = data[offset : offset + self._settings.segment]
                                self._metrics.bytes.labels("passed").inc(len(segment))
                                yield segment
                                position += len(segment)
                                await asyncio.sleep(0)
                            if position >= stop:
                                return
            except UpstreamError as error:
                attempts = 1 if position > before else attempts + 1
                if error.failure not in TRANSIENT or attempts >= self._settings.attempts:
                    raise TransferError(error.message) from error
                longest = self._settings.retry_delay.total_seconds() * min(2 ** (attempts - 1), _LONGEST_DELAY)
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter

    async def _verify(self, data: bytes, position: int, hasher: Hasher | None) -> None:
        """Hash `data`; where it completes the blob, raise `TransferError` unless the digest is right."""
        if hasher is None:
            return
        await update(hasher, [data])
        if position + len(data) == self._total and not self._digest.matches(hasher):
            self._metrics.verify_failures.labels(self._route.rule).inc()
            _log.warning("bypass.failed", digest=str(self._digest), route=self._route.name)
            raise TransferError(f"{self._route.name} sent bytes for {self._digest} that have another digest")


class BypassSource:
    """The `BlobSource` over a transfer of its own, for a blob of which nothing is kept.

    The transfer that told the size is also the one that is streamed, where the stream begins at byte 0.
    """

    def __init__(self, bypass: Bypass, total: int, held: "_HeldRoute", digest: Digest) -> None:
        """Take over `held`, whose transfer is open; see `open`."""
        self.total = total
        self.status = CacheStatus(forward=Forward.MISS, bypass=True)
        self._bypass = bypass
        self._held = held
        self._digest = digest

    @classmethod
    async def open(
        cls, digest: Digest, route: BlobRoute, settings: FillSettings, metrics: Metrics, tasks: Tasks
    ) -> Self:
        """Ask `route` for the blob. Raises `UpstreamError`."""
        held = _HeldRoute(route, tasks)
        total = await held.connect()
        if total == 0 and not digest.matches(digest.hasher()):
            held.close()
            raise UpstreamError(UpstreamFailure.GARBAGE, f"{route.name} sent no bytes for {digest}")
        return cls(Bypass(digest, total, held, settings, metrics), total, held, digest)

    def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes [start, stop); the whole blob is verified, with its end held back until it is right."""
        return self._bypass.stream(start, stop, self._digest.hasher() if start == 0 else None)

    def at_rest(self) -> None:
        """Return None: the blob is kept nowhere."""

    def close(self) -> None:
        """Leave; a transfer that was not streamed is closed in the background."""
        self._held.close()


class _HeldRoute:
    """A route whose first transfer is open already."""

    def __init__(self, route: BlobRoute, tasks: Tasks) -> None:
        self._route = route
        self._tasks = tasks
        self._stack = AsyncExitStack()
        self._body: BlobBody | None = None

    @property
    def name(self) -> str:
        return self._route.name

    @property
    def rule(self) -> str:
        return self._route.rule

    @property
    def parallel(self) -> int:
        return 1

    async def connect(self) -> int:
        self._body = await self._stack.enter_async_context(self._route.open(0, ""))
        return self._body.total

    @asynccontextmanager
    async def open(self, start: int, validator: str, stop: int | None = None) -> AsyncIterator[BlobBody]:
        held, self._body = self._body, None
        async with self._stack.pop_all():
            if held is not None and start == 0:
                yield held
                return
        async with self._route.open(start, validator, stop) as body:
            yield body

    def close(self) -> None:
        if self._body is not None:
            self._body = None
            self._tasks.spawn(f"close transfer {self.name}", self._stack.pop_all().aclose())
