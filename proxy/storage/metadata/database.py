"""Named transactions on the metadata database, each one hop to a thread.

A transaction is a plain function of a connection. Awaiting every statement instead would cost a hop each, several
times the work of the statement itself.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import stamina
import structlog
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from proxy.core.ports import StorageFullError
from proxy.storage.metadata.engine import BUSY_TIMEOUT, READERS, Access, is_busy, is_refused_write, open_engine
from proxy.storage.metadata.wal_index import WalIndex
from proxy.storage.threads import Threads

T = TypeVar("T")

_ATTEMPTS: Final = 3
"""Each waits for the lock in its turn; then the caller is told, and goes on without the write."""

_log = structlog.get_logger(__name__)


class Database:
    """One SQLite file: a single writer and a few readers. The schema is there already; `close` once, at the end."""

    def __init__(self, path: Path, busy_timeout: float = BUSY_TIMEOUT) -> None:
        """Open the file; blocks. An attempt to write waits `busy_timeout` seconds for another process's lock."""
        self._path = path
        self._wal_index = WalIndex.open(path)
        self._writer = open_engine(path, Access.WRITE, busy_timeout)
        self._readers = open_engine(path, Access.READ, busy_timeout)
        self._write_threads = Threads("metadata-write", 1)
        self._read_threads = Threads("metadata-read", READERS)

    async def read(self, name: str, work: Callable[[Connection], T]) -> T:
        """Return what `work` finds in one snapshot; `name` is for the log."""
        return await self._read_threads.run(self._read, name, work)

    async def write(self, name: str, work: Callable[[Connection], T]) -> T:
        """Commit what `work` does, durably, or nothing of it.

        Raises `StorageFullError` where the database cannot be written. `work` may run more than once, each time on
        a fresh transaction. A caller that is cancelled leaves either all or nothing behind.
        """
        return await self._write_threads.run(self._write, name, work)

    def generation(self) -> object:
        """Return a value that equals one returned before only if no process has committed anything in between."""
        return self._wal_index.generation()

    async def close(self) -> None:
        """Wait for what runs, and close the file."""
        await asyncio.to_thread(self._wal_index.let_go)
        for threads, engine in ((self._read_threads, self._readers), (self._write_threads, self._writer)):
            await threads.run(engine.dispose)
            await asyncio.to_thread(threads.close)
        await asyncio.to_thread(self._wal_index.close)

    def _read(self, name: str, work: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection:
            try:
                return work(connection)
            except DBAPIError:
                _log.warning("metadata.read_failed", transaction=name)
                raise

    def _write(self, name: str, work: Callable[[Connection], T]) -> T:
        try:
            for attempt in stamina.retry_context(on=is_busy, attempts=_ATTEMPTS, wait_initial=0.05, wait_max=0.5):
                with attempt, self._writer.begin() as connection:
                    return work(connection)
        except DBAPIError as error:
            _log.warning("metadata.write_failed", transaction=name, error=str(error.orig))
            if is_busy(error):
                raise StorageFullError(f"cannot write to {self._path}: another process keeps it locked") from error
            if is_refused_write(error):
                raise StorageFullError(f"cannot write to {self._path}: {error.orig}") from error
            raise
        raise AssertionError("stamina ends with a result or an exception")
