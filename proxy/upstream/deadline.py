"""The time that one request has, with all its retries, redirects and tokens."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """A point in the loop's time that several steps share. Make it inside a running loop."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + seconds

    def remaining(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self._at - self._loop.time())

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop counting inside the context, for a wait that is not the upstream's doing."""
        started = self._loop.time()
        try:
            yield
        finally:
            self._at += self._loop.time() - started

    def within(self, seconds: float | None = None) -> asyncio.Timeout:
        """Return a context that raises TimeoutError at the deadline, or after `seconds` if that is sooner."""
        if seconds is None:
            return asyncio.timeout_at(self._at)
        return asyncio.timeout_at(min(self._at, self._loop.time() + seconds))
