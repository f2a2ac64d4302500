"""Files that several processes write, one at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MODE: Final = 0o600


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Keep out all others, of any process, that are alone with the same path; blocks until they are done.

    The lock is on a file beside it, ``.lock``: the path itself may be put aside or replaced meanwhile. It goes with its
    holder, however that ends. Raises `OSError` where that file cannot be made.
    """
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
