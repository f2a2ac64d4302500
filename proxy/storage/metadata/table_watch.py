"""Whether a table of a few rows was written, told by the pages that were: those of other tables do not count."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.engine import Connection

from proxy.storage.metadata.wal_index import WalIndex

_FIRST: Final = 1
"""The page of the database that each change of the schema writes, and each that moves a table to another page."""

_FEW: Final = 8
"""Rows of a watched table that are sure to lie in its root page: where there are more, nothing is told of it."""


class TableWatch:
    """Tell whether any process has written to one table. To be used by one loop at a time.

    SQLite changes a row by writing the page that it is on, and a small table is all on one, the root of its tree. Which
    page that is has to be looked up (`query`, `learn`) at first, and again where the first page was written. Until then
    each commit may have been one to the table.
    """

    def __init__(self, index: WalIndex, table: str) -> None:
        """Know nothing yet; `table` is a name of the schema."""
        self._index = index
        self._query = text(
            "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = :name "  # noqa: S608 - not a client's
            f"AND (SELECT count(*) FROM {table}) <= {_FEW}"
        ).bindparams(name=table)
        self._root: int | None = None
        self._seen: object = None
        self._known: object = object()

    def generation(self) -> object:
        """Return a value that equals one returned before only if no process has written to the table in between."""
        now = self._index.generation()
        if not isinstance(now, bytes):
            return now  # of a moment, in which nothing is known
        if now != self._seen:
            if self._root is None or self._index.wrote({_FIRST, self._root}, self._seen, now):
                self._root, self._known = None, object()
            self._seen = now
        return self._known

    def start(self) -> object:
        """Return what `learn` wants to know, before the transaction that asks `query`."""
        return self._index.generation()

    def query(self, connection: Connection) -> int | None:
        """Return the page that the table is on, or None where it is on several."""
        page: int | None = connection.scalar(self._query)
        return page

    def learn(self, start: object, page: int | None) -> None:
        """Take over what `query` has found since `start`."""
        if self._root is not None or not isinstance(start, bytes):
            return
        if start != self._seen:  # what was written meanwhile may have been the table
            self._known = object()
        # From there on, so that what moved the table before it was asked for is found by the next look.
        self._root, self._seen = page, start
