"""The newest bytes of a fill, kept in memory for readers at its tip."""

from collections import deque


class Window:
    """Keep the last `limit` bytes (or one chunk, where that is longer), in the chunks in which they came."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._size = 0

    def append(self, position: int, chunk: bytes) -> None:
        """Add the bytes from `position` on, which is where the last chunk ended; drop the oldest."""
        self._chunks.append((position, chunk))
        self._size += len(chunk)
        while self._size > self._limit and len(self._chunks) > 1:
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
