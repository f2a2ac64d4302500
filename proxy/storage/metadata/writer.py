"""Group commit: writes that wait at the same time are committed together.

A commit that outlives a power cut waits for the device, and the writes behind it wait with it. So the one thread that
writes takes all that wait, does each in a savepoint of one transaction, and commits once. To a caller it is as if the
writes had been done one after the other, in the order in which they were asked for.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import stamina
import structlog
from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from proxy.core.ports import StorageFullError
from proxy.storage.metadata.calls import Call, Calls
from proxy.storage.metadata.engine import is_busy, is_refused_write
from proxy.storage.threads import Threads

T = TypeVar("T")

_ATTEMPTS: Final = 3
"""Each waits for the lock in its turn; then the caller is told, and goes on without the write."""

_MOST: Final = 64
"""Writes that are committed together."""

_LONGEST: Final = 0.02
"""Seconds after which a transaction takes no further write, so that those it has are not kept waiting."""

_LEVEL: Final = "synchronous"
_DEMANDED: Final = "durability demanded"

_log = structlog.get_logger(__name__)


class _DurabilityDemandedError(Exception):
    """One of the writes turned out to need what the transaction was not begun with."""


class _SpoiltError(Exception):
    """The transaction cannot go on without the write that failed."""


class Writer:
    """The only thread of this process that writes to one database. `engine` has one connection, and is closed with it.

    To be used by one loop at a time.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        """Begin with nothing to do; `path` is for the log."""
        self._path = path
        self._engine = engine
        self._threads = Threads("metadata-write", 1)
        self._calls = Calls(self._threads, 1, _MOST, self._commit)

    async def write(self, name: str, work: Callable[[Connection], T], *, durable: bool) -> T:
        """Commit what `work` does, or nothing of it; see `Database.write`."""
        return await self._calls.do(name, work, durable=durable)

    async def close(self) -> None:
        """Wait for all writes, and close the connection."""
        await self._threads.run(self._engine.dispose)
        await asyncio.to_thread(self._threads.close)

    def _commit(self, batch: Sequence[Call]) -> int:
        """Give each of the first writes of `batch` its result or error, and return how many those are."""
        try:
            return self._attempt(batch)
        except (DBAPIError, sqlite3.Error, _SpoiltError) as error:
            if not isinstance(error, _SpoiltError) and (len(batch) == 1 or is_busy(error)):
                for write in batch:
                    write.error = self._failure(write, error)
                return len(batch)
        except Exception as error:
            if len(batch) > 1:
                raise
            batch[0].error = error
            return 1
        # What one writes may be too much for the device, and what the others write not: each for itself, as if it had
        # come alone.
        for write in batch:
            self._commit([write])
        return len(batch)

    def _attempt(self, batch: Sequence[Call]) -> int:
        durable = any(write.durable for write in batch)
        for attempt in stamina.retry_context(on=is_busy, attempts=_ATTEMPTS, wait_initial=0.05, wait_max=0.5):
            with attempt:
                try:
                    return self._transact(batch, durable=durable)
                except _DurabilityDemandedError:
                    return self._transact(batch, durable=True)
        raise AssertionError("stamina ends with a result or an exception")

    def _transact(self, batch: Sequence[Call], *, durable: bool) -> int:
        """Do the first writes of `batch` in one transaction, and return how many."""
        count = 0
        with self._engine.connect() as connection:
            _synchronize(connection, durable=durable)
            with connection.begin():
                begun = time.monotonic()  # with the lock: what another process had it for keeps no write out
                for write in batch:
                    if count and time.monotonic() - begun > _LONGEST:
                        break
                    write.result, write.error = None, None
                    if len(batch) == 1:
                        write.result = write.work(connection)
                    else:
                        self._do(connection, write)
                    count += 1
                if connection.info.pop(_DEMANDED, False) and not durable:
                    raise _DurabilityDemandedError
        return count

    def _do(self, connection: Connection, write: Call) -> None:
        """Do one write of several: what it leaves behind where it fails is nothing, and the others do not notice."""
        driver = _driver(connection)
        driver.execute("SAVEPOINT one").close()
        try:
            write.result = write.work(connection)
        except Exception as error:
            # https://www.sqlite.org/lang_transaction.html: a full disk, among others, may undo the whole transaction.
            if not driver.in_transaction or is_refused_write(error) or is_busy(error):
                raise _SpoiltError from error
            driver.execute("ROLLBACK TO one").close()
            write.error = self._failure(write, error) if isinstance(error, DBAPIError) else error
        driver.execute("RELEASE one").close()

    def _failure(self, write: Call, error: DBAPIError | sqlite3.Error) -> Exception:
        """Log a refusal of the database, and return what the caller is told."""
        reason = str(error.orig if isinstance(error, DBAPIError) else error)
        _log.warning("metadata.write_failed", transaction=write.name, error=reason)
        told: Exception = error
        if is_busy(error):
            told = StorageFullError(f"cannot write to {self._path}: another process keeps it locked")
        elif is_refused_write(error):
            told = StorageFullError(f"cannot write to {self._path}: {reason}")
        if told is not error:
            told.__cause__ = error
        return told


def demand_durability(connection: Connection) -> None:
    """Have the transaction outlive a power cut although its write was not begun so. To be called by that write."""
    connection.info[_DEMANDED] = True


def _synchronize(connection: Connection, *, durable: bool) -> None:
    """Choose, before the transaction, whether its commit waits for the device.

    https://www.sqlite.org/pragma.html#pragma_synchronous: with NORMAL a power cut may undo the last commits, and
    nothing else; the next commit with FULL makes those before it durable too. Without a power cut both are the same.
    """
    level = "FULL" if durable else "NORMAL"
    connection.info.pop(_DEMANDED, None)
    if connection.info.get(_LEVEL, "FULL") != level:
        _driver(connection).execute(f"PRAGMA synchronous={level}").close()
        connection.info[_LEVEL] = level


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the engine is not one of SQLite's")
    return driver
