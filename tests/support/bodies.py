"""Bodies of requests, as they come in: in pieces, broken off, or standing still."""

import asyncio
from collections.abc import AsyncIterator


class BrokenBodyError(Exception):
    """The client has gone in the middle of its body."""


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    """Yield the pieces, to the end."""
    for piece in pieces:
        yield piece


async def broken(*pieces: bytes) -> AsyncIterator[bytes]:
    """Yield the pieces, then break off."""
    for piece in pieces:
        yield piece
    raise BrokenBodyError


class StandingBody:
    """A body that comes to a standstill after its pieces; `stands` is set then, and `go_on` ends it."""

    def __init__(self, *pieces: bytes) -> None:
        self.stands = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed = False
        self._pieces = pieces

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the pieces, then wait."""
        try:
            for piece in self._pieces:
                yield piece
            self.stands.set()
            await self.go_on.wait()
        finally:
            self.closed = True
