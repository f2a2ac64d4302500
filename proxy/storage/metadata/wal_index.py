"""Whether any process has written to an SQLite database, told by its WAL index without a system call.

The WAL index is the file ``-shm`` beside the database, which all processes map. Its header, two copies of 48 bytes
(https://www.sqlite.org/walformat.html, §2.1), says how far the log is committed, and is what a reader looks at to know
which snapshot is the newest. A commit is visible from when both copies say so, which is before the commit returns, and
not before: equal headers mean equal snapshots. Behind the header stands of which page of the database each frame of the
log is: so it is also known, after a commit, what it left alone.
"""

import mmap
import os
import sqlite3
import struct
import threading
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import structlog

_HEADER: Final = 48
_VERSION: Final = 3007000
"""The only format there has been since SQLite 3.7.0; one of another version is not read."""
_BOTH: Final = struct.Struct(f"{_HEADER}s{_HEADER}s").unpack_from
_IS_INIT: Final = 12
"""Where a header says that it has been written: before that, all are alike."""
_LAST_FRAME: Final = struct.Struct("=16xI").unpack_from
"""The number of the last frame of the log that is committed; frames count from 1."""
_SALTS: Final = slice(32, 40)
"""Where a header says which log it is about: a log that is begun anew has others."""

# https://www.sqlite.org/walformat.html, §2.2: blocks with the page number of each frame, and a hash table behind them.
_BLOCK: Final = 1 << 15
_FRAMES: Final = 4096
_BEFORE: Final = 136
"""Bytes of the first block, of which its frames have as much less room."""
_MOST: Final = _FRAMES
"""Frames that are looked through; a commit has few."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Mapping:
    """A WAL index as this process maps it, and how many use it."""

    descriptor: int
    header: mmap.mmap
    users: int = 1

    def pages(self, first: int, last: int) -> set[int] | None:
        """Return which pages the frames behind `first` are of, up to `last`; None where not all are there."""
        found: set[int] = set()
        while first < last:
            # As if the first block had room for as many frames, and what is before them were the first of these.
            block, place = divmod(first + _BEFORE // 4, _FRAMES)
            count = min(last - first, _FRAMES - place)
            raw = os.pread(self.descriptor, 4 * count, block * _BLOCK + 4 * place)
            if len(raw) != 4 * count:
                return None
            found.update(memoryview(raw).cast("I"))
            first += count
        return found

    def close(self) -> None:
        self.header.close()
        os.close(self.descriptor)


@dataclass(slots=True)
class _Mappings:
    """The WAL indexes that this process has open, by device and inode: each is opened once.

    SQLite holds its locks on the same file by POSIX record locks, and the kernel drops all of these that a process has
    on a file when the process closes any descriptor of it (https://www.sqlite.org/howtocorrupt.html, §2.2). So what was
    opened here stays open until the last store on that file has closed its connections.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: dict[tuple[int, int], _Mapping] = field(default_factory=dict)

    def take(self, path: Path) -> _Mapping:
        with self.lock:
            found = path.stat()
            mapping = self.known.get((found.st_dev, found.st_ino))
            if mapping is not None:
                mapping.users += 1
                return mapping
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                mapping = _Mapping(descriptor, mmap.mmap(descriptor, 2 * _HEADER, prot=mmap.PROT_READ))
            except (OSError, ValueError):
                os.close(descriptor)  # what cannot be mapped SQLite has not mapped either, and holds no locks on
                raise
            self.known[found.st_dev, found.st_ino] = mapping
            return mapping

    def release(self, mapping: _Mapping) -> None:
        with self.lock:
            mapping.users -= 1
            if mapping.users == 0:
                self.known = {key: kept for key, kept in self.known.items() if kept is not mapping}
                mapping.close()


_MAPPINGS: Final = _Mappings()  # of the process, as the locks are that it looks after


class WalIndex:
    """The header of one database's WAL index. Methods but `generation` block.

    While it is open the file is neither removed nor truncated, whatever other connections come and go: a connection of
    its own keeps it (the last one to close removes it, and the first one to open truncates it).
    """

    def __init__(self, connection: sqlite3.Connection, mapping: _Mapping | None) -> None:
        """Use `open` instead."""
        self._connection = connection
        self._mapping = mapping

    @classmethod
    def open(cls, database: Path) -> Self:
        """Open the WAL index of a database that exists.

        Where there is none that can be read, as on a file system that processes cannot share memory by, every
        generation is another; the log says so once.
        """
        connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only=ON").close()
            # SQLite opens the log, and makes its index, with the first read.
            connection.execute("SELECT count(*) FROM sqlite_schema").close()
            with closing(connection.execute("PRAGMA database_list")) as listed:
                file = listed.fetchone()[2]  # as SQLite calls it: without symbolic links
            return cls(connection, open_header(Path(f"{file}-shm")))
        except BaseException:
            connection.close()
            raise

    def generation(self) -> object:
        """Return a value that equals one returned before only if no transaction was committed in between."""
        if self._mapping is None:
            return object()
        first, second = _BOTH(self._mapping.header)
        # A commit writes one copy after the other: while they differ it is under way, or its process was killed.
        return first if first == second and first[_IS_INIT] else object()

    def wrote(self, pages: Collection[int], before: object, after: object) -> bool:
        """Tell whether commits between two generations wrote any of some pages of the database; True also if unknown.

        Takes a system call that reads what is in memory.
        """
        mapping = self._mapping
        if mapping is None or not isinstance(before, bytes) or not isinstance(after, bytes):
            return True
        first, last = _LAST_FRAME(before)[0], _LAST_FRAME(after)[0]
        if before[_SALTS] != after[_SALTS] or not 0 <= last - first <= _MOST:
            return True
        written = mapping.pages(first, last)
        # A log that was begun anew says so before its first frame takes the place of one that was read.
        now = self.generation()
        same = isinstance(now, bytes) and now[_SALTS] == after[_SALTS]
        return not same or written is None or not written.isdisjoint(pages)

    def let_go(self) -> None:
        """Close the connection that keeps the file; no generation may be asked for any more."""
        self._connection.close()

    def close(self) -> None:
        """Close the file. To be called when the store's own connections to the database are closed, and not before."""
        if self._mapping is not None:
            _MAPPINGS.release(self._mapping)
            self._mapping = None


def open_header(path: Path) -> _Mapping | None:
    """Return the header of a WAL index, or None where there is none, or none that this version can read."""
    try:
        mapping = _MAPPINGS.take(path)
    except (OSError, ValueError) as error:
        _log.warning("metadata.changes_unseen", path=str(path), error=str(error))
        return None
    version: int = struct.unpack_from("=I", mapping.header)[0]
    if version == _VERSION:
        return mapping
    _log.warning("metadata.changes_unseen", path=str(path), error=f"a WAL index of the version {version}")
    _MAPPINGS.release(mapping)
    return None
