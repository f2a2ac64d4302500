"""Work that is done again and again for the life of the process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 2.0
"""How often files are looked at: links that are exchanged, mounts and network disks tell no watcher."""


class Watch:
    """Look at something every `interval` seconds, and at once when asked."""

    def __init__(self, look: Callable[[], Awaitable[object]], interval: float) -> None:
        """Look at nothing yet: `run` does. What `look` raises ends it."""
        self._look = look
        self._interval = interval
        self._asked = asyncio.Event()

    def request(self) -> None:
        """Ask `run` to look at once, and return: what a signal handler calls, on the event loop."""
        self._asked.set()

    async def run(self) -> None:
        """Wait, look, and begin again, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._asked.wait()
            self._asked.clear()
            await self._look()


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
