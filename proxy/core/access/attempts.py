"""Wrong passwords, counted: who sent too many is heard no more for a while."""

import math
from collections import deque
from typing import Final

from cachetools import LRUCache, TTLCache

from proxy.core.access.addresses import client_network
from proxy.core.ports import Clock
from proxy.model.errors import ErrorCode, ProxyError, retry_after

EVERYWHERE: Final = 10
"""How many times the limit of one network a user's wrong passwords from all of them may be."""

_WINDOW: Final = 60.0
_KEPT: Final = 20_000
_AT_HOME: Final = 24 * 3600.0
# CI jobs come from many networks with one password.
_HOMES: Final = 64
_LONGEST_ADDRESS: Final = 64


class Attempts:
    """Count wrong passwords of the last minute, for each network they came from and for each user.

    From `limit` on, further ones from that network are refused, whoever's they are. A user's wrong passwords from all
    networks together are refused from ten times `limit` on, but never where the user's right one came from in the last
    day: so nobody keeps somebody out by knowing a name, and many networks together guess little more than one.

    Names need not be those of users: whether there is such a user makes no difference to anybody elsewhere. IPv6
    addresses of one network (64 bits) count as one; what comes without an address counts for its user alone. Of all of
    that, what came last is remembered.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._clock = clock
        self._networks = _Failures(limit, clock)
        self._unplaced = _Failures(limit, clock)
        self._users = _Failures(limit * EVERYWHERE, clock)
        # By user, so that one who roams pushes out no others.
        self._homes: LRUCache[str, TTLCache[str | None, bool]] = LRUCache(_KEPT)

    def require(self, user: str, address: str | None) -> None:
        """Raise `ProxyError` TOOMANYREQUESTS, with ``Retry-After``, where no further password is to be heard."""
        network = _network(address)
        wait = self._unplaced.wait(user) if network is None else self._networks.wait(network)
        homes = self._homes.get(user)
        if homes is None or network not in homes:
            wait = max(wait, self._users.wait(user))
        if wait > 0:
            raise ProxyError(
                ErrorCode.TOOMANYREQUESTS,
                f"too many wrong passwords, for this user or from this address: try again in {math.ceil(wait)} s",
                headers=retry_after(wait),
            )

    def failed(self, user: str, address: str | None) -> None:
        """Count a wrong password."""
        network = _network(address)
        if network is None:
            self._unplaced.note(user)
        else:
            self._networks.note(network)
        self._users.note(user)

    def succeeded(self, user: str, address: str | None) -> None:
        """Note where the right password of a user came from."""
        homes = self._homes.get(user)
        if homes is None:
            homes = self._homes[user] = TTLCache(_HOMES, _AT_HOME, timer=self._clock.monotonic)
        homes[_network(address)] = True


class _Failures:
    """When the last `limit` failures of the last minute were, by whatever failed."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._kept: TTLCache[str, deque[float]] = TTLCache(_KEPT, _WINDOW, timer=clock.monotonic)

    def wait(self, key: str) -> float:
        """Return for how many seconds there are too many failures."""
        failures = self._kept.get(key)
        if failures is None or len(failures) < self._limit:
            return 0.0
        return failures[0] + _WINDOW - self._clock.monotonic()

    def note(self, key: str) -> None:
        """Count one more."""
        now = self._clock.monotonic()
        failures = self._kept.get(key)
        if failures is None:
            failures = deque(maxlen=self._limit)
        # Those that are over would never go where few came for long: of many users that would be much.
        while failures and failures[0] + _WINDOW <= now:
            failures.popleft()
        failures.append(now)
        # Put again, so that its time begins again.
        self._kept[key] = failures


def _network(address: str | None) -> str | None:
    return None if address is None else client_network(address) or address[:_LONGEST_ADDRESS]
