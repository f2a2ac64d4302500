"""Room for what clients push: new content is refused before the store runs full, and the refusals are counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from proxy.core.ports import BlobStore, StorageFullError
from proxy.model.errors import ErrorCode, ProxyError
from proxy.telemetry.metrics import Metrics


class Admission:
    """Take content only while `min_free` bytes stay free with it."""

    def __init__(self, blobs: BlobStore, min_free: int) -> None:
        self._blobs = blobs
        self._min_free = min_free

    async def require(self, size: int = 0) -> None:
        """Raise `ProxyError` STORAGE_FULL unless `size` bytes more fit."""
        free = await self._blobs.free()
        if free < self._min_free + size:
            raise ProxyError(
                ErrorCode.STORAGE_FULL,
                debug=f"{size} bytes do not fit: {free} are free, and {self._min_free} stay free (storage.min_free)",
            )


def full(error: StorageFullError) -> ProxyError:
    """Return the answer for a client whose content cannot be written."""
    return ProxyError(ErrorCode.STORAGE_FULL, debug=str(error))


@contextmanager
def accounted(metrics: Metrics, kind: Literal["manifest", "blob"]) -> Iterator[None]:
    """Count the content that is not taken inside; where the store is full, raise STORAGE_FULL."""
    try:
        yield
    except StorageFullError as error:
        metrics.pushes.labels(kind, "no_room").inc()
        raise full(error) from error
    except ProxyError as error:
        metrics.pushes.labels(kind, "no_room" if error.code is ErrorCode.STORAGE_FULL else "refused").inc()
        raise
