"""Have the kernel write a growing file to its device while it grows: little is left then for the fsync at its end."""

import ctypes
from collections.abc import Callable
from typing import Final

_STRETCH: Final = 8 << 20
"""Bytes that are worth a call."""

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE: begin to write what is dirty, and do not wait for it


def _find() -> Callable[[int, int, int, int], int] | None:
    """Return the system call of Linux by its C library, or None: Python has no name for it."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except AttributeError:
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


_sync_file_range: Final = _find()


class Writeback:
    """How far one file, written from its beginning, was handed to its device. It promises nothing: fsync does."""

    def __init__(self) -> None:
        """Begin with nothing handed over."""
        self._position = 0

    def reach(self, descriptor: int, position: int) -> None:
        """Hand over what was written up to `position`, if that is much; blocks where the device has too much to do."""
        size = position - self._position
        if size >= _STRETCH and _sync_file_range is not None:
            # What it returns does not matter: a file system may not have it, and an error is told by fsync again.
            _sync_file_range(descriptor, self._position, size, _WRITE)
            self._position = position
