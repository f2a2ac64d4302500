"""How fast upstream registries are asked: at the rule's rate, or at what its kind is known to bear."""

import asyncio
import math
from contextlib import nullcontext
from typing import NamedTuple

from proxy.core.buckets import Bucket, Sleep
from proxy.core.ports import Clock
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.upstream.deadline import Deadline
from proxy.upstream.kinds import Counted, Pacing, Rate, kind_of
from proxy.upstream.query import Kind, Query, Weight

_LONGEST_QUEUE = 1024
_REMEMBERED = 1024


class _Payer(NamedTuple):
    """Whom a registry counts requests against: an account, or (anonymous) this address."""

    origin: str
    account: str
    rate: Rate


class _Queue:
    """Those who wait for their turn, in order."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self.bucket = Bucket(rate.per_second, rate.burst, clock)
        self.length = 0


class Pacer:
    """Let requests to registries begin at the rate of their account, first come first served."""

    def __init__(self, clock: Clock, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._queues: dict[_Payer, _Queue] = {}

    async def admit(self, query: Query, deadline: Deadline, busy: float = 0.0) -> None:
        """Wait for the turn of a request to the registry of `query`.

        `busy` is the expected wait for a connection after that. A light request that could not begin before its
        deadline raises `UpstreamError` OVERLOADED at once; for a transfer the deadline moves along.
        """
        rate = _rate(query)
        if rate is None:
            self._check(query, busy, deadline, "its connections are in use: `max_connections`")
            return
        queue = self._queue(_Payer(query.rule.upstream.origin, query.rule.credentials_id, rate))
        why = f"it is asked {rate.per_second:g} times a second at most: `requests_per_second`"
        self._check(query, queue.bucket.wait() + busy, deadline, why)
        if queue.length >= _LONGEST_QUEUE:
            raise _overloaded(query.rule, queue.bucket.wait(), why)
        wait = queue.bucket.take()
        if wait <= 0:
            return
        turn = queue.bucket.last_turn
        queue.length += 1
        try:
            with nullcontext() if query.weight is Weight.LIGHT else deadline.suspended():
                await self._sleep(wait)
        except asyncio.CancelledError:
            queue.bucket.give_back(turn)
            raise
        finally:
            queue.length -= 1

    @staticmethod
    def _check(query: Query, wait: float, deadline: Deadline, why: str) -> None:
        if query.weight is Weight.LIGHT and wait > 0 and wait >= deadline.remaining():
            raise _overloaded(query.rule, wait, why)

    def _queue(self, payer: _Payer) -> _Queue:
        queue = self._queues.get(payer)
        if queue is None:
            if len(self._queues) >= _REMEMBERED:
                idle = [each for each, one in self._queues.items() if one.bucket.is_idle and not one.length]
                for each in idle:
                    del self._queues[each]
            queue = self._queues[payer] = _Queue(payer.rate, self._clock)
        return queue


def _rate(query: Query) -> Rate | None:
    """Return the rate that counts this request, if any does."""
    rule = query.rule
    if rule.requests_per_second is not None:
        return Rate(rule.requests_per_second, max(1, math.ceil(rule.requests_per_second)))
    kind = kind_of(rule.upstream)
    if not _counts(kind.pacing, query):
        return None
    return kind.rate(authenticated=rule.credentials is not None)


def _counts(pacing: Pacing, query: Query) -> bool:
    return pacing.counted is Counted.REQUESTS or (query.kind is Kind.MANIFEST and query.method == "GET")


def _overloaded(rule: CacheRule, wait: float, why: str) -> UpstreamError:
    return UpstreamError(
        UpstreamFailure.OVERLOADED,
        f"too many requests wait for {rule.upstream} (rule {rule.prefix}); {why}",
        retry_after=float(max(1, math.ceil(wait))),
    )
