"""Repeating a request whose failure may pass, inside its time budget."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.upstream.deadline import Deadline
from proxy.upstream.failures import LinkRefusedError

T = TypeVar("T")

ATTEMPTS = 4
_FIRST_CEILING = 0.5
_LAST_CEILING = 4.0
_WORTHWHILE = frozenset(
    {
        UpstreamFailure.UNREACHABLE,
        UpstreamFailure.TIMEOUT,
        UpstreamFailure.SERVER_ERROR,
        UpstreamFailure.RATE_LIMITED,
    }
)


class Retries:
    """Decide about repeats: exponential ceilings with full jitter, and the upstream's own Retry-After.

    `uniform` draws a number between two, `sleep` waits for seconds: tests give their own.
    """

    def __init__(
        self,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._uniform = uniform
        self._sleep = sleep

    async def run(self, attempt: Callable[[], Awaitable[T]], deadline: Deadline, *, retry: bool) -> T:
        """Return what `attempt` returns; repeat it after a passing failure while `retry` and the deadline permit."""
        failures = 0
        while True:
            try:
                return await attempt()
            except UpstreamError as error:
                failures += 1
                pause = self._pause(error, failures) if retry and failures < ATTEMPTS else None
                if pause is None or pause >= deadline.remaining():
                    raise
            await self._sleep(pause)

    def _pause(self, error: UpstreamError, failures: int) -> float | None:
        if isinstance(error, LinkRefusedError):
            # A new request gets a new link; if that is refused too, time will not mend it.
            return 0.0 if failures == 1 else None
        if error.failure not in _WORTHWHILE:
            return None
        ceiling = min(_LAST_CEILING, _FIRST_CEILING * 2 ** (failures - 1))
        return max(error.retry_after or 0.0, self._uniform(0.0, ceiling))
