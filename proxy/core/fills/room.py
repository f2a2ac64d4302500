"""Free space, counted so that fills which run at the same time do not each take the same room."""

from typing import Final

from proxy.core.fills.fill import Fill
from proxy.core.ports import BlobStore, Clock, StorageFullError

_SPAN: Final = 1.0
"""Seconds for which a look at the device counts, as long as there is `_PLENTY` beyond what was admitted since."""

_PLENTY: Final = 1 << 30


class Room:
    """Admit fills as long as `min_free` bytes stay free when all fills of this process are complete."""

    def __init__(self, blobs: BlobStore, clock: Clock, min_free: int) -> None:
        """Start without fills."""
        self._blobs = blobs
        self._clock = clock
        self._min_free = min_free
        self._missing: dict[Fill, int] = {}
        # The last look at the device: when it was, and what was free then less all that was admitted since.
        self._looked = -_SPAN
        self._left = 0
        self._admitted = 0

    async def admit(self, fill: Fill, total: int) -> None:
        """Count `fill`, of `total` bytes, until it is dropped; raise `StorageFullError` where it does not fit."""
        needed = total + sum(self._missing.values()) + self._min_free + _PLENTY
        if self._clock.monotonic() - self._looked > _SPAN or self._left < needed:
            await self._look(fill, total)
        self._left -= total
        self._admitted += total
        self._missing[fill] = total

    async def _look(self, fill: Fill, total: int) -> None:
        looked, admitted = self._clock.monotonic(), self._admitted
        free = await self._blobs.free()
        self._looked, self._left = looked, free - (self._admitted - admitted)
        others = sum(
            max(0, size - other.watermark)
            for other, size in self._missing.items()
            # What nobody asked for does not take the room of what somebody did.
            if other is not fill and (fill.background or not other.background)
        )
        missing = total - fill.watermark
        if missing > free - others - self._min_free:
            raise StorageFullError(
                f"{missing} bytes more do not fit: {free} are free, {others} of them for other blobs on their way "
                f"and {self._min_free} kept free (storage.min_free)"
            )

    def drop(self, fill: Fill) -> None:
        """Count `fill` no longer."""
        self._missing.pop(fill, None)
