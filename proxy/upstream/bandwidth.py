"""How fast blobs are received from an upstream: the `bandwidth` of a rule, shared by all its transfers."""

from collections.abc import AsyncIterator
from itertools import pairwise

from proxy.core.buckets import Bucket, Sleep
from proxy.core.ports import Clock
from proxy.model.rule import CacheRule

_LEAST_PIECE = 4 << 10
_LARGEST_PIECE = 256 << 10
_PIECES_A_SECOND = 16
_REMEMBERED = 256


class Bandwidth:
    """Keep every rule to its `bandwidth`, its transfers in turns of one piece."""

    def __init__(self, clock: Clock, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._buckets: dict[tuple[str, int], Bucket] = {}

    async def pieces(self, rule: CacheRule, chunk: bytes) -> AsyncIterator[bytes]:
        """Yield `chunk` whole where the rule sets no bandwidth; otherwise in pieces, each when its turn has come.

        The pieces are small against a second's worth, so that no transfer waits long for another, and a reader is
        never left without a byte for the time that a whole chunk takes.
        """
        if rule.bandwidth is None:
            yield chunk
            return
        size = min(max(rule.bandwidth // _PIECES_A_SECOND, _LEAST_PIECE), _LARGEST_PIECE)
        bucket = self._bucket(rule.prefix, rule.bandwidth, size)
        for start, stop in pairwise((*range(0, len(chunk), size), len(chunk))):
            wait = bucket.take(stop - start)
            if wait > 0:
                await self._sleep(wait)
            yield chunk[start:stop]

    def _bucket(self, prefix: str, rate: int, burst: int) -> Bucket:
        bucket = self._buckets.get((prefix, rate))
        if bucket is None:
            if len(self._buckets) >= _REMEMBERED:  # rules that are gone, or had another bandwidth before
                self._buckets = {key: one for key, one in self._buckets.items() if not one.is_idle}
            bucket = self._buckets[prefix, rate] = Bucket(rate, burst, self._clock)
        return bucket
