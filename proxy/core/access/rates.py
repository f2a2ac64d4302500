"""How many requests callers may make: one token bucket a principal, or an address of those who show none."""

from collections import OrderedDict

from proxy.core.access.addresses import client_network
from proxy.core.access.caller import Caller
from proxy.core.buckets import Bucket
from proxy.core.clock import SystemClock
from proxy.core.ports import Clock
from proxy.model.errors import ErrorCode, ProxyError, retry_after
from proxy.telemetry.metrics import Metrics

# Callers that are remembered. Who was not heard of for longest is forgotten, and has a full bucket again: somebody with
# more addresses than this gains a burst each, which those addresses have anyway.
_REMEMBERED = 65_536


class Rates:
    """Admit `per_second` requests of each caller, up to `burst` at once after a pause; without a rate, all of them.

    Callers without a principal are told apart by address, those of IPv6 by their /64. Whose address is unknown shares
    one bucket with all such.
    """

    def __init__(self, per_second: float | None, burst: int, clock: Clock, metrics: Metrics) -> None:
        """Begin with a full bucket for everybody."""
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._limited = metrics.requests_limited
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    @classmethod
    def unlimited(cls) -> "Rates":
        """Return what admits everybody."""
        return cls(None, 1, SystemClock(), Metrics())

    def admit(self, caller: Caller) -> None:
        """Count one request of `caller`; raise `ProxyError` TOOMANYREQUESTS where it comes too early.

        A refused request costs nothing: who waits as long as ``Retry-After`` says (whole seconds, RFC 9110 §10.2.3) is
        admitted.
        """
        if self._per_second is None:
            return
        bucket = self._bucket(caller, self._per_second)
        wait = bucket.wait()
        if not wait:
            bucket.take()
            return
        self._limited.labels(caller.scheme).inc()
        raise ProxyError(
            ErrorCode.TOOMANYREQUESTS,
            f"more than {self._per_second:g} requests a second from one client: send fewer at once",
            headers=retry_after(wait),
        )

    def _bucket(self, caller: Caller, per_second: float) -> Bucket:
        key = ("address", _network(caller)) if caller.anonymous else ("principal", str(caller.principal))
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _REMEMBERED:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = Bucket(per_second, self._burst, self._clock)
        else:
            self._buckets.move_to_end(key)
        return bucket


def _network(caller: Caller) -> str:
    return client_network(caller.address or "") or ""
