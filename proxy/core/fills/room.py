"""Free space, counted so that fills which run at the same time do not each take the same room."""

from proxy.core.fills.fill import Fill
from proxy.core.ports import BlobStore, StorageFullError


class Room:
    """Admit fills as long as `min_free` bytes stay free when all fills of this process are complete."""

    def __init__(self, blobs: BlobStore, min_free: int) -> None:
        """Start without fills."""
        self._blobs = blobs
        self._min_free = min_free
        self._missing: dict[Fill, int] = {}

    async def admit(self, fill: Fill, total: int) -> None:
        """Count `fill`, of `total` bytes, until it is dropped; raise `StorageFullError` where it does not fit."""
        free = await self._blobs.free()
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
        self._missing[fill] = total

    def drop(self, fill: Fill) -> None:
        """Count `fill` no longer."""
        self._missing.pop(fill, None)
