"""SQLite connections: how they are opened, and what their errors mean.

Write-ahead logging lets readers go on while one connection writes. The writer's ``synchronous=FULL`` makes a commit
survive power loss when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous). Transactions are begun
here explicitly: the driver of Python 3.11 would begin them late, and as readers, so that two writers could each
wait for the other.
"""

import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, NullPool, Pool, QueuePool, create_engine, event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

READERS: Final = 4
"""Threads for queries that may take long."""
LOOKERS: Final = 2
"""Threads for look-ups of a few rows."""
BUSY_TIMEOUT: Final = 5.0
"""Seconds that a connection waits for another process's write lock before it gives up."""


class Access(StrEnum):
    """What a connection is for."""

    READ = "read"
    WRITE = "write"
    MIGRATE = "migrate"


_POOLS: dict[Access, tuple[type[Pool], dict[str, int]]] = {
    Access.READ: (QueuePool, {"pool_size": READERS + LOOKERS, "max_overflow": 0}),
    Access.WRITE: (QueuePool, {"pool_size": 1, "max_overflow": 0}),
    Access.MIGRATE: (NullPool, {}),
}

_PRAGMAS: dict[Access, tuple[str, ...]] = {
    Access.READ: ("query_only=ON",),
    Access.WRITE: ("synchronous=FULL", "foreign_keys=ON"),
    # Foreign keys are off while tables are rebuilt: dropping one would else delete all rows that point to it.
    Access.MIGRATE: ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF"),
}


def open_engine(path: Path, access: Access, busy_timeout: float = BUSY_TIMEOUT) -> Engine:
    """Return an engine whose connections are set up for `access`; nothing is opened until the first is used."""
    pool, arguments = _POOLS[access]
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=pool,
        connect_args={"check_same_thread": False},
        **arguments,
    )

    def set_up(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins no transactions of its own
        for pragma in (f"busy_timeout={round(busy_timeout * 1000)}", *_PRAGMAS[access]):
            connection.execute(f"PRAGMA {pragma}").close()

    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: one that began as a reader would be refused, not kept waiting, if another
        # process wrote in between (SQLITE_BUSY_SNAPSHOT).
        connection.exec_driver_sql("BEGIN" if access is Access.READ else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def primary_code(error: BaseException) -> int | None:
    """Return SQLite's primary result code behind `error`, or None where SQLite did not raise it."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(origin, sqlite3.Error):
        return None
    # https://www.sqlite.org/rescode.html: the low byte of an extended code is the primary one.
    code: int = getattr(origin, "sqlite_errorcode", 0)  # absent where the driver itself raised
    return code & 0xFF


def is_busy(error: BaseException) -> bool:
    """Tell whether another process holds the lock."""
    return primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_refused_write(error: BaseException) -> bool:
    """Tell whether the database cannot be written: disk full, read-only, failing device."""
    return primary_code(error) in {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
    }
