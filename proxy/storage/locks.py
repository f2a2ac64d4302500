"""Locks on files: each goes with its holder, however that ends."""

import fcntl
import os
from pathlib import Path


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this descriptor alone; tell whether nobody else has it. Never waits."""
    try:
        # flock, not lockf: a POSIX lock is lost when any descriptor of the file is closed in the process.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Give up a lock at once: closing does not, as long as a child of this process has not yet called exec."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_named(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is (still) the one at `path`: between open and lock it may have moved or gone."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
