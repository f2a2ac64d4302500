"""State of each upstream host: how many connections are in use, and whether it is being left alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from proxy.config.settings import UpstreamSettings
from proxy.core.ports import Clock
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.telemetry.metrics import Metrics
from proxy.upstream.deadline import Deadline
from proxy.upstream.query import Weight

_REMEMBERED_HOSTS = 512
_LONGEST_QUEUE = 1024
_WEIGHT_OF_LAST = 0.2


class _Connections:
    """The connections of one rule to one host: transfers leave a few of them to light requests."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.users = 0
        self.waiting = 0
        self.transfers = 0
        self.usual = 0.0
        self.all = asyncio.Semaphore(limit)
        self.bulk = asyncio.Semaphore(max(1, limit - max(1, limit // 8)))

    def note(self, seconds: float) -> None:
        """Learn how long light requests hold a connection: an average in which the last ones count most."""
        self.usual += _WEIGHT_OF_LAST * (seconds - self.usual) if self.usual else seconds


class ConnectionLimits:
    """Keep every rule to its `max_connections` to each host."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str, int], _Connections] = {}

    def expected_wait(self, rule: CacheRule, host: str) -> float:
        """Return for how long one more light request would probably wait for a connection to `host`, in seconds."""
        connections = self._connections.get((rule.prefix, host, rule.max_connections))
        if connections is None or not connections.all.locked():
            return 0.0
        turns = max(1, connections.limit - connections.transfers)
        return (connections.waiting + 1) * connections.usual / turns

    @asynccontextmanager
    async def connection(self, rule: CacheRule, host: str, weight: Weight, deadline: Deadline) -> AsyncIterator[None]:
        """Hold one connection to `host`.

        A light request waits until its deadline and then raises `UpstreamError` OVERLOADED; a transfer waits as long
        as it must, and the deadline moves along.
        """
        if weight is Weight.CARRIED:
            yield
            return
        key = (rule.prefix, host, rule.max_connections)
        connections = self._connections.get(key)
        if connections is None:
            connections = self._connections[key] = _Connections(rule.max_connections)
        if connections.users >= rule.max_connections + _LONGEST_QUEUE:
            raise _overloaded(rule, host)
        connections.users += 1
        try:
            async with AsyncExitStack() as held:
                if weight is Weight.BULK:
                    with deadline.suspended():
                        await held.enter_async_context(connections.bulk)
                        await held.enter_async_context(connections.all)
                    held.enter_context(_transferring(connections))
                else:
                    await self._enter(held, connections, rule, host, deadline)
                    held.enter_context(_timed(connections))
                yield
        finally:
            connections.users -= 1
            if not connections.users:
                del self._connections[key]

    @staticmethod
    async def _enter(
        held: AsyncExitStack, connections: _Connections, rule: CacheRule, host: str, deadline: Deadline
    ) -> None:
        connections.waiting += 1
        try:
            async with deadline.within():
                await held.enter_async_context(connections.all)
        except TimeoutError:
            raise _overloaded(rule, host) from None
        finally:
            connections.waiting -= 1


@contextmanager
def _transferring(connections: _Connections) -> Iterator[None]:
    connections.transfers += 1
    try:
        yield
    finally:
        connections.transfers -= 1


@contextmanager
def _timed(connections: _Connections) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        yield
    finally:
        connections.note(loop.time() - started)


def _overloaded(rule: CacheRule, host: str) -> UpstreamError:
    return UpstreamError(
        UpstreamFailure.OVERLOADED,
        f"all {rule.max_connections} connections to {host} are in use; "
        f"`max_connections` of rule {rule.prefix} sets their number",
        retry_after=1.0,
    )


@dataclass(slots=True)
class _Trouble:
    failures: int = 0
    opened_at: float | None = None
    probing: bool = False


class Attempt:
    """One request to a host; say `succeeded` or `failed`, or nothing if it was given up."""

    def __init__(self) -> None:
        self.outcome: bool | None = None

    def succeeded(self) -> None:
        """Say that the host answered, whatever it said."""
        self.outcome = True

    def failed(self) -> None:
        """Say that the host could not be reached, did not answer in time, or answered 5xx."""
        self.outcome = False


class Breakers:
    """Leave hosts alone for `breaker_reset` after `breaker_failures` failures in a row; then try them with one request.

    Only hosts in trouble take memory.
    """

    def __init__(self, settings: UpstreamSettings, clock: Clock, metrics: Metrics) -> None:
        self._threshold = settings.breaker_failures
        self._reset = settings.breaker_reset.total_seconds()
        self._clock = clock
        self._metrics = metrics
        self._troubled: dict[tuple[str, str], _Trouble] = {}

    @contextmanager
    def attempt(self, host: str, route: str = "") -> Iterator[Attempt]:
        """Hold one attempt at `host` by `route` (a forward proxy), or raise `UpstreamError` CIRCUIT_OPEN."""
        key = (host, route)
        trouble = self._troubled.get(key)
        probing = trouble is not None and self._admit(host, trouble)
        attempt = Attempt()
        try:
            yield attempt
        finally:
            if probing and trouble is not None:
                trouble.probing = False
            if attempt.outcome is True and self._troubled.pop(key, None) is not None:
                self._metrics.breaker_open.labels(host).set(0)
            elif attempt.outcome is False:
                self._count(host, self._troubled.setdefault(key, _Trouble()))

    def _admit(self, host: str, trouble: _Trouble) -> bool:
        if trouble.opened_at is None:
            return False
        wait = trouble.opened_at + self._reset - self._clock.monotonic()
        if wait > 0 or trouble.probing:
            raise UpstreamError(
                UpstreamFailure.CIRCUIT_OPEN,
                f"{host} failed {trouble.failures} times in a row and is left alone for a while",
                retry_after=max(1.0, wait),
            )
        trouble.probing = True
        return True

    def _count(self, host: str, trouble: _Trouble) -> None:
        trouble.failures += 1
        if trouble.failures >= self._threshold:
            trouble.opened_at = self._clock.monotonic()
            self._metrics.breaker_open.labels(host).set(1)
        if len(self._troubled) > _REMEMBERED_HOSTS:
            oldest = next(iter(self._troubled))
            self._troubled.pop(oldest)
            self._metrics.breaker_open.labels(oldest[0]).set(0)
