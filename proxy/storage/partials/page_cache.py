"""Reads that need no device are made on the loop; all others in a thread."""

import errno
import os
from typing import Final

LONGEST: Final = 256 << 10
"""The most that is copied on the loop at a time (some 20 µs)."""

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)  # Linux only


class PageCache:
    """Ask the page cache of one file system."""

    def __init__(self) -> None:
        """Expect that the file system can answer without waiting."""
        self._nowait = bool(_NOWAIT)
        # Shared by all readers: it is used between two awaits, on the loop's own thread only.
        self._buffer = memoryview(bytearray(LONGEST))

    def read(self, descriptor: int, position: int, size: int) -> bytes | None:
        """Return up to `size` bytes that are in memory; None where a thread must be asked."""
        if not self._nowait or size > LONGEST:
            return None
        try:
            count = os.preadv(descriptor, [self._buffer[:size]], position, _NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            # preadv2(2): EOPNOTSUPP is the answer of file systems that cannot promise it (tmpfs, NFS, FUSE).
            if error.errno != errno.EOPNOTSUPP:
                raise
            self._nowait = False
            return None
        return bytes(self._buffer[:count]) or None
