"""Reads that need no device are made on the loop; all others in a thread."""

import errno
import os
from pathlib import Path
from typing import Final

LONGEST: Final = 256 << 10
"""The most that is copied on the loop at a time (some 20 µs)."""

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)  # Linux only


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

    def read(self, descriptor: int, position: int, size: int) -> bytes | None:
        """Return up to `size` bytes that are in memory; None where there are none, or a thread must be asked."""
        if size > LONGEST:
            return None
        if self._nowait:
            try:
                count = os.preadv(descriptor, [self._buffer[:size]], position, _NOWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                # preadv2(2): EOPNOTSUPP is the answer of file systems that cannot promise it (tmpfs, NFS, FUSE).
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._nowait = False
            else:
                return bytes(self._buffer[:count]) or None
        return os.pread(descriptor, size, position) or None if self._in_memory else None


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
