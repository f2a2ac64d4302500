"""What can be wrong with a store, told in sentences for the person who runs the server."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.core.ports import StorageFullError

REFUSED_WRITES = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,  # a limit on the size of files, of the process or of the file system
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,  # ext4 and others answer every later write with it, or with EROFS, once the device has failed
    }
)
"""Errors of the operating system that say: this cannot be written, but what is stored may still be read."""


class StoreUnusableError(Exception):
    """The store cannot be opened. The message is one sentence: what is wrong, where, and how to mend it."""


class SchemaTooNewError(StoreUnusableError):
    """The database was written by a newer version of this program."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `StorageFullError`, naming `path`, where a write inside finds no room or a read-only device."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED_WRITES:
            raise
        raise StorageFullError(f"cannot write to {path}: {error.strerror}") from error


def unusable(path: Path, error: OSError) -> StoreUnusableError:
    """Return the exception for a store at `path` that the operating system does not let us use."""
    return StoreUnusableError(
        f"The store at {path} cannot be used ({error.strerror or error}): "
        "give this user write access there, make room, or set storage.path to another folder."
    )
