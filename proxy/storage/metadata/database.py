"""Named transactions on the metadata database, each one hop to a thread.

A transaction is a plain function of a connection. Awaiting every statement instead would cost a hop each, several
times the work of the statement itself. Writes that wait at the same time share a transaction: see `writer`.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from proxy.storage.metadata import schema
from proxy.storage.metadata.calls import Call, Calls
from proxy.storage.metadata.engine import BUSY_TIMEOUT, LOOKERS, READERS, Access, open_engine
from proxy.storage.metadata.table_watch import TableWatch
from proxy.storage.metadata.wal_index import WalIndex
from proxy.storage.metadata.writer import Writer
from proxy.storage.threads import Threads

T = TypeVar("T")

_TOGETHER: Final = 8
"""Look-ups that share a snapshot: more would keep the first of them waiting for the last."""

_log = structlog.get_logger(__name__)


class Database:
    """One SQLite file: a single writer and a few readers. The schema is there already; `close` once, at the end.

    `revisions` tells whether any process has written to the table of that name.
    """

    def __init__(self, path: Path, busy_timeout: float = BUSY_TIMEOUT) -> None:
        """Open the file; blocks. An attempt to write waits `busy_timeout` seconds for another process's lock."""
        self._wal_index = WalIndex.open(path)
        self.revisions = TableWatch(self._wal_index, schema.revisions.name)
        self._writer = Writer(path, open_engine(path, Access.WRITE, busy_timeout))
        self._readers = open_engine(path, Access.READ, busy_timeout)
        self._read_threads = Threads("metadata-read", READERS)
        self._look_up_threads = Threads("metadata-look-up", LOOKERS)
        self._look_ups = Calls(self._look_up_threads, LOOKERS, _TOGETHER, self._look_up)

    async def read(self, name: str, work: Callable[[Connection], T]) -> T:
        """Return what `work` finds in one snapshot; `name` is for the log."""
        return await self._read_threads.run(self._read, name, work)

    async def look_up(self, name: str, work: Callable[[Connection], T]) -> T:
        """Return what `work` finds as `read` does; for work that finds a few rows by an index.

        What is asked for at the same time is found in one snapshot by one hop, and waits for each other.
        """
        return await self._look_ups.do(name, work)

    async def write(self, name: str, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Commit what `work` does, durably, or nothing of it.

        Not `durable` is for what can be had again: then a power cut may undo it, with all that was written after it
        and was not durable either; the end of the process, however sudden, undoes nothing. Raises `StorageFullError`
        where the database cannot be written. `work` may run more than once, each time as if it had not run before. A
        caller that is cancelled leaves either all or nothing behind.
        """
        return await self._writer.write(name, work, durable=durable)

    def generation(self) -> object:
        """Return a value that equals one returned before only if no process has committed anything in between."""
        return self._wal_index.generation()

    async def close(self) -> None:
        """Wait for what runs, and close the file."""
        await asyncio.to_thread(self._wal_index.let_go)
        for threads in (self._look_up_threads, self._read_threads):
            await threads.run(self._readers.dispose)
            await asyncio.to_thread(threads.close)
        await self._writer.close()
        await asyncio.to_thread(self._wal_index.close)

    def _read(self, name: str, work: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection:
            try:
                return work(connection)
            except DBAPIError:
                _log.warning("metadata.read_failed", transaction=name)
                raise

    def _look_up(self, calls: Sequence[Call]) -> int:
        with self._readers.connect() as connection:
            for call in calls:
                try:
                    call.result = call.work(connection)
                except Exception as error:  # noqa: BLE001 - it is the caller's
                    if isinstance(error, DBAPIError):
                        _log.warning("metadata.read_failed", transaction=call.name)
                    call.error = error
        return len(calls)
