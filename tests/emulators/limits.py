"""How often somebody may ask: counted by the injected clock."""

from collections import defaultdict, deque
from dataclasses import dataclass, field

from proxy.core.ports import Clock


@dataclass
class Limit:
    """At most `most` in `seconds`, for each key. Counts nothing and refuses nothing unless `enforced`.

    Limits of a few a second are not enforced until a test says so: an injected clock stands still.
    """

    clock: Clock
    most: int
    seconds: float
    enforced: bool = True
    _times: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def take(self, key: str) -> bool:
        """Count one; tell whether it was permitted. What is refused is not counted."""
        if not self.enforced:
            return True
        if self.left(key) <= 0:
            return False
        self._times[key].append(self.clock.monotonic())
        return True

    def left(self, key: str) -> int:
        times = self._times[key]
        while times and times[0] <= self.clock.monotonic() - self.seconds:
            times.popleft()
        return self.most - len(times)
