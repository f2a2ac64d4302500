"""Bodies of pushed blobs on their way into the store."""

from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from proxy.core.admission import Admission
from proxy.core.fills.transfer import closing
from proxy.core.ports import StorageFullError
from proxy.core.upload_ports import UploadUnknownError
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_BATCH = 256 << 10
"""Bytes that are gathered before they are written: each write is a hop to a thread. Larger ones only cost memory."""

_RECKONING = 64 << 20
"""Bytes after which a body is looked at again for whether there is room: others fill the store too."""


class Intake:
    """Write bodies as they come, a batch at a time."""

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics

    async def take(
        self,
        data: AsyncIterator[bytes],
        write: Callable[[bytes], Awaitable[None]],
        *,
        length: int | None,
        most: int | None = None,
    ) -> int:
        """Hand the bytes of `data` to `write`; return how many came.

        Where the body breaks off, and where this is cancelled, what came before is written first. With `most`, reading
        ends at the first byte beyond it. `length` is how much was announced. Raises `ProxyError` STORAGE_FULL where
        there is no room; what `write` raises passes through.
        """
        await self._admission.require(length or 0)
        pending: list[bytes] = []
        gathered = received = reckoned = 0
        try:
            async with closing(data) as pieces:
                async for piece in pieces:
                    received += len(piece)
                    if most is not None and received > most:
                        return received
                    pending.append(piece)
                    gathered += len(piece)
                    if gathered < _BATCH:
                        continue
                    # Before the pause, lest a cancelled write is repeated: it goes on in its thread.
                    batch, pending, gathered = pending, [], 0
                    await self._write(write, batch)
                    if received - reckoned >= _RECKONING:
                        reckoned = received
                        await self._admission.require()
        except BaseException:
            await self._save(write, pending)
            raise
        await self._write(write, pending)
        return received

    async def _save(self, write: Callable[[bytes], Awaitable[None]], pending: list[bytes]) -> None:
        try:
            await self._write(write, pending)
        except (StorageFullError, UploadUnknownError) as error:
            # The client asks how far the upload came before it goes on; why the body ended is what counts here.
            _log.info("upload.rest_dropped", size=sum(map(len, pending)), reason=str(error))

    async def _write(self, write: Callable[[bytes], Awaitable[None]], pending: list[bytes]) -> None:
        batch = b"".join(pending)
        if batch:
            await write(batch)
            self._metrics.bytes.labels("pushed").inc(len(batch))
