"""Wrong passwords, counted: who sent too many is heard no more for a while."""

import math
from collections import deque
from typing import Final

from cachetools import TTLCache

from proxy.core.access.addresses import client_network
from proxy.core.ports import Clock
from proxy.model.errors import ErrorCode, ProxyError

_WINDOW: Final = 60.0
_KEPT: Final = 20_000
_LONGEST_ADDRESS: Final = 64


class Attempts:
    """Count wrong passwords of the last minute, for each user and for each address they came from.

    From `limit` on, of either, further ones are refused; nobody else is. Names need not be those of users: whether
    there is such a user makes no difference. IPv6 addresses of one network (64 bits) count as one. Of users and of
    addresses those are remembered that failed last.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._users: _Failures = TTLCache(_KEPT, _WINDOW, timer=clock.monotonic)
        self._addresses: _Failures = TTLCache(_KEPT, _WINDOW, timer=clock.monotonic)

    def require(self, user: str, address: str | None) -> None:
        """Raise `ProxyError` TOOMANYREQUESTS, with ``Retry-After``, where no further password is to be heard."""
        wait = self._wait(self._users.get(user))
        if address is not None:
            wait = max(wait, self._wait(self._addresses.get(_network(address))))
        if wait > 0:
            seconds = math.ceil(wait)
            raise ProxyError(
                ErrorCode.TOOMANYREQUESTS,
                f"too many wrong passwords, for this user or from this address: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    def failed(self, user: str, address: str | None) -> None:
        """Count a wrong password."""
        self._note(self._users, user)
        if address is not None:
            self._note(self._addresses, _network(address))

    def _wait(self, failures: deque[float] | None) -> float:
        """Return for how many seconds there are too many failures."""
        if failures is None or len(failures) < self._limit:
            return 0.0
        return failures[0] + _WINDOW - self._clock.monotonic()

    def _note(self, kept: "_Failures", key: str) -> None:
        failures = kept.get(key)
        if failures is None:
            failures = deque(maxlen=self._limit)
        failures.append(self._clock.monotonic())
        # Put again, so that its time begins again.
        kept[key] = failures


_Failures = TTLCache[str, deque[float]]


def _network(address: str) -> str:
    return client_network(address) or address[:_LONGEST_ADDRESS]
