"""Token buckets, as virtual scheduling: one number says how far ahead of its rate a sender is (ITU-T I.371, GCRA)."""

from collections.abc import Awaitable, Callable

from proxy.core.ports import Clock

Sleep = Callable[[float], Awaitable[object]]
"""Waits for seconds: `asyncio.sleep`, or what a test gives."""

_UNNOTICED = 1e-6
"""Seconds: a wait as short as this is an error of rounding."""


class Bucket:
    """Give turns at `per_second`, up to `burst` at once after a pause, in the order in which they are taken."""

    def __init__(self, per_second: float, burst: float, clock: Clock) -> None:
        self._interval = 1 / per_second
        self._tolerance = burst * self._interval
        self._clock = clock
        self._paid_until = float("-inf")

    @property
    def is_idle(self) -> bool:
        """Tell whether a new bucket would do as well: what was taken has been made up for."""
        return self._paid_until <= self._clock.monotonic()

    def wait(self, cost: float = 1) -> float:
        """Return the seconds that `take` would tell now."""
        now = self._clock.monotonic()
        wait = max(self._paid_until, now) + cost * self._interval - self._tolerance - now
        return wait if wait > _UNNOTICED else 0.0

    def take(self, cost: float = 1) -> float:
        """Take the next turn, worth `cost`; return the seconds until it comes."""
        wait = self.wait(cost)
        self._paid_until = max(self._paid_until, self._clock.monotonic()) + cost * self._interval
        return wait

    @property
    def last_turn(self) -> float:
        """Return what tells the turn that was taken last from those before and after it."""
        return self._paid_until

    def give_back(self, turn: float) -> None:
        """Return a turn worth 1 that was taken and will not be used; it is lost where others wait behind it."""
        if turn == self._paid_until:
            self._paid_until -= self._interval
