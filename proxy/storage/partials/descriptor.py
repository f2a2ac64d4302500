"""File descriptors that threads share with the loop."""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager


class Descriptor:
    """Keep a file descriptor open until the last call that uses it has ended.

    A coroutine that is cancelled leaves its call running in a thread. Were the descriptor closed meanwhile, its
    number might be another file's, and the call would write there; and a lock would be free while its holder still
    writes.
    """

    def __init__(self, number: int) -> None:
        """Own the open descriptor `number`."""
        self._number = number
        self._users = 1  # the owner
        self._closed = False
        self._guard = threading.Lock()
        # A descriptor whose owner was cancelled before it got it is closed when it is collected.
        self._close = weakref.finalize(self, os.close, number)

    @contextmanager
    def use(self) -> Iterator[int]:
        """Lend the number; raise ValueError after `close`."""
        with self._guard:
            if self._closed:
                raise ValueError("this descriptor is closed")
            self._users += 1
        try:
            yield self._number
        finally:
            self._leave()

    def close(self) -> None:
        """Close the descriptor, or let the last call that uses it do so; idempotent."""
        with self._guard:
            closed, self._closed = self._closed, True
        if not closed:
            self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._users -= 1
            last = self._users == 0
        if last:
            self._close()
