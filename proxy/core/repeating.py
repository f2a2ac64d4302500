"""Work that is done again and again for the life of the process."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_log = structlog.get_logger(__name__)


async def repeat(work: Callable[[], Awaitable[object]], interval: float, *, failed: str) -> None:
    """Do `work`, wait `interval` seconds, and begin again; never returns.

    What fails is logged as the event `failed` and tried again in its turn. Of failures in a row only the first is
    logged: a disk that is away for an hour must not fill the log.
    """
    failing = False
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - what fails once must not end it for good
            if not failing:
                _log.exception(failed)
            failing = True
        else:
            failing = False
        await asyncio.sleep(interval)
