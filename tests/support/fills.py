"""Fills of one or several processes over one store in memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from types import TracebackType
from typing import Self, cast

from pydantic import ByteSize

from proxy.config.settings import FillSettings, UpstreamSettings
from proxy.core.fills import Fills
from proxy.core.fills.ports import PartialStore
from proxy.core.sources import BlobSource
from proxy.core.tasks import Tasks
from proxy.model.digest import Digest
from proxy.storage.blobs import MemoryBlobStore
from proxy.storage.partials import MemoryPartialStore
from proxy.telemetry.metrics import Metrics
from tests.support.background import until
from tests.support.clock import FakeClock

CONTENT = bytes((index * 7 + index // 251) % 256 for index in range(12_000))
DIGEST = Digest.of(CONTENT)


class FillBench:
    """Stores, and as many processes as a test asks for; `fills` is the first one's."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.blobs = MemoryBlobStore()
        self.partials = MemoryPartialStore(self.blobs)
        self.metrics = Metrics()
        self.tasks = Tasks()
        self.settings = FillSettings(
            segment=ByteSize(700),
            batch=ByteSize(1500),
            piece=ByteSize(1000),
            poll=timedelta(milliseconds=1),
            attempts=3,
            retry_delay=timedelta(0),
        )
        self.min_free = 0
        self._stack = AsyncExitStack()
        self._fills: Fills | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def fills(self) -> Fills:
        if self._fills is None:
            self._fills = self.process(self.tasks)
        return self._fills

    def process(self, tasks: Tasks | None = None, partials: PartialStore | None = None) -> Fills:
        """Return the fills of another process."""
        return Fills(
            partials=partials or self.partials,
            blobs=self.blobs,
            tasks=tasks or self.tasks,
            clock=self.clock,
            settings=self.settings,
            upstreams=UpstreamSettings(),
            min_free=self.min_free,
            metrics=self.metrics,
        )

    async def stored(self, digest: Digest = DIGEST) -> bytes | None:
        reader = await self.blobs.open(digest)
        return None if reader is None else await reader.read(0, reader.size)

    async def settled(self) -> None:
        """Wait until no fill runs."""
        await asyncio.wait_for(until(lambda: not self.metric("pullthrough_fills_active")), 20)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def read(source: BlobSource, start: int = 0, stop: int | None = None) -> bytes:
    """Read [start, stop) and leave."""
    try:
        return b"".join([data async for data in source.stream(start, source.total if stop is None else stop)])
    finally:
        source.close()


async def read_into(got: bytearray, source: BlobSource) -> None:
    """Read a whole blob into `got`, which also has what came before an error."""
    async for data in source.stream(0, source.total):
        got += data


async def read_some(source: BlobSource, size: int) -> bytes:
    """Read at least `size` bytes of a whole blob, stop there, and do not leave."""
    data = b""
    async with aclosing(cast("AsyncGenerator[bytes, None]", source.stream(0, source.total))) as stream:
        async for segment in stream:
            data += segment
            if len(data) >= size:
                break
    return data
