"""Whether the server is to stay, and what it still has to finish."""

import asyncio
from contextlib import suppress


class Lifecycle:
    """Count the requests under way on all listeners of a server: each runs inside the context of this object.

    `draining` is set when the server is told to stop.
    """

    def __init__(self) -> None:
        """Begin with an idle server that stays."""
        self.draining = False
        self._running = 0
        self._hurried = False
        self._settled = asyncio.Event()
        self._settled.set()

    def __enter__(self) -> None:
        """Count one more request."""
        self._running += 1

    def __exit__(self, *_: object) -> None:
        """Count one less."""
        self._running -= 1
        if self._running == 0:
            self._settled.set()

    async def settle(self, seconds: float) -> int:
        """Wait until no request is under way, for `seconds` at most, or until `hurry`; return how many still are."""
        if self._running and not self._hurried:
            self._settled.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        return self._running

    def hurry(self) -> None:
        """End the wait of `settle`, now and from now on."""
        self._hurried = True
        self._settled.set()
