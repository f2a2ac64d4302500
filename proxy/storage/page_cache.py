"""Reads that need no device are made on the loop; all others in a thread."""

import errno
import os
from pathlib import Path
from typing import Final

LONGEST: Final = 256 << 10
"""The most that is copied on the loop at a time (some 20 µs)."""

_WILLNEED: Final[int | None] = getattr(os, "POSIX_FADV_WILLNEED", None)
_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)  # Linux only


def load(descriptor: int, position: int, size: int) -> None:
    """Read these bytes into the page cache, and wait for them; blocks."""
    if _WILLNEED is not None:
        os.posix_fadvise(descriptor, position, size, _WILLNEED)  # the device is asked for all of them at once
    buffer, stop = memoryview(bytearray(min(size, LONGEST))), position + size
    while position < stop:
        count = os.preadv(descriptor, [buffer[: stop - position]], position)
        if not count:
            return  # whoever sends the bytes finds that they are missing
        position += count


class PageCache:
    """Ask the page cache of one file system for bytes that are at hand.

    ``preadv`` with RWF_NOWAIT answers from the page cache or says EAGAIN. File systems without it say EOPNOTSUPP.
    Of those, tmpfs and ramfs have no device below: their pages *are* the page cache, so a plain ``pread`` there is
    a copy and cannot wait. On any other (NFS, FUSE, some overlays) every read goes to a thread.
    """

    def __init__(self) -> None:
        """Expect that the file system can answer without waiting."""
        self._nowait = bool(_NOWAIT)
        self._in_memory = False
        # Shared by all readers: it is used between two awaits, on the loop's own thread only.
        self._buffer = memoryview(bytearray(LONGEST))

    def look(self, folder: Path) -> None:
        """Find out whether the file system of `folder` lives in memory; blocks."""
        self._in_memory = _is_in_memory(folder)

    @property
    def tells(self) -> bool:
        """Tell whether the file system can say what is at hand."""
        return self._nowait or self._in_memory

    def has(self, descriptor: int, position: int, size: int) -> bool:
        """Tell whether the first and the last of these bytes are in memory; what is read in order is so throughout."""
        ends = (position, position + size - 1)
        return size > 0 and all(self._peek(descriptor, end, self._buffer[:1]) for end in ends)

    def read(self, descriptor: int, position: int, size: int) -> bytes | None:
        """Return up to `size` bytes that are in memory; None where there are none, or a thread must be asked."""
        if size > LONGEST:
            return None
        buffer = self._buffer[:size]
        count = self._peek(descriptor, position, buffer)
        return bytes(buffer[:count]) or None

    def _peek(self, descriptor: int, position: int, buffer: memoryview) -> int:
        """Fill `buffer` with what is at hand, and return its length."""
        if self._nowait:
            try:
                return os.preadv(descriptor, [buffer], position, _NOWAIT)
            except BlockingIOError:
                return 0
            except OSError as error:
                # preadv2(2): EOPNOTSUPP is the answer of file systems that cannot promise it (tmpfs, NFS, FUSE).
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._nowait = False
        return os.preadv(descriptor, [buffer], position) if self._in_memory else 0


def _is_in_memory(path: Path) -> bool:
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # not Linux, or /proc is hidden: reads go to threads
    # proc(5): "36 35 98:0 /root /mount options [tags ...] - type source options"
    for line in mounts.splitlines():
        mount, _, filesystem = line.partition(" - ")
        if mount.split(" ")[2] == number:
            return filesystem.split(" ")[0] in {"tmpfs", "ramfs"}
    return False
