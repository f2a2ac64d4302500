"""What fills hold in memory: the newest bytes, for readers at the tip, and what is on its way to each reader."""

from collections import deque
from typing import Final

WINDOW: Final = 4 << 20
"""Bytes that readers at the tip share in memory: what one of them falls behind before it reads the file."""

_WINDOWS: Final = 32 << 20
_LEAST_WINDOW: Final = 256 << 10
_SEGMENTS: Final = 8 << 20
_LEAST_SEGMENT: Final = 32 << 10


class Shares:
    """What the fills of one process may hold in memory, shared out evenly: it does not grow with them.

    `fills` and `readers` count those there are.
    """

    def __init__(self) -> None:
        """Begin without fills."""
        self.fills = 0
        self.readers = 0

    @property
    def window(self) -> int:
        """Return how many of its newest bytes a fill may keep."""
        return max(_LEAST_WINDOW, min(WINDOW, _WINDOWS // max(1, self.fills)))

    def segment(self, most: int) -> int:
        """Return how many bytes, `most` at the most, a reader may take at a time: a slow client holds on to them."""
        return min(most, max(_LEAST_SEGMENT, _SEGMENTS // max(1, self.readers)))


class Window:
    """Keep the last `limit` bytes (or one chunk, where that is longer), in the chunks in which they came."""

    def __init__(self, limit: int) -> None:
        """Start empty; `limit` may be changed."""
        self.limit = limit
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._size = 0

    def append(self, position: int, chunk: bytes) -> None:
        """Add the bytes from `position` on, which is where the last chunk ended; drop the oldest."""
        self._chunks.append((position, chunk))
        self._size += len(chunk)
        while self._size > self.limit and len(self._chunks) > 1:
            _, oldest = self._chunks.popleft()
            self._size -= len(oldest)

    def pieces(self, position: int, size: int) -> list[bytes]:
        """Return the bytes [position, position + size) as far as they go; nothing where they are older."""
        found: list[bytes] = []
        if not self._chunks or position < self._chunks[0][0]:
            return found
        stop = position + size
        # From the newest: most readers are at the tip.
        for offset, chunk in reversed(self._chunks):
            if offset + len(chunk) <= position:
                break
            if offset < stop:
                found.append(chunk[max(0, position - offset) : stop - offset])
        found.reverse()
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self._size = 0
