"""Records that are kept whole, as one JSON text each, by a key."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.core.registry.ports import AlreadyExistsError, TooManyError
from proxy.storage.metadata.provenances import replacing

R = TypeVar("R")


class Keyed(Generic[R]):
    """The records of one table. Each method runs inside a transaction of the caller's."""

    def __init__(self, table: Table, kind: type[R]) -> None:
        """Keep records of `kind`, a dataclass that msgspec can encode, in `table`."""
        self._table = table
        self._decoder = msgspec.json.Decoder(kind)

    def get(self, connection: Connection, key: str) -> R | None:
        """Return the record, or None."""
        text = connection.scalar(select(self._table.c.record).where(self._table.c.key == key))
        return None if text is None else self._decoder.decode(text)

    def page(self, connection: Connection, after: str = "", limit: int | None = None) -> list[R]:
        """Return up to `limit` records whose keys are greater than `after`, in order of key."""
        query = select(self._table.c.record).where(self._table.c.key > after).order_by(self._table.c.key).limit(limit)
        return [self._decoder.decode(text) for text in connection.scalars(query)]

    def create(self, connection: Connection, key: str, record: R, limit: int | None = None) -> None:
        """Keep a new record. Raises `AlreadyExistsError`, or `TooManyError` where there are `limit`."""
        if self.get(connection, key) is not None:
            raise AlreadyExistsError
        if limit is not None and (connection.scalar(select(func.count()).select_from(self._table)) or 0) >= limit:
            raise TooManyError
        self.put(connection, key, record)

    def put(self, connection: Connection, key: str, record: R) -> None:
        """Keep a record, replacing any of that key."""
        text = msgspec.json.encode(record).decode()
        connection.execute(replacing(insert(self._table).values(key=key, record=text)))

    def set(self, connection: Connection, key: str, record: R | None) -> None:
        """Keep a record as `put` does; None removes the one of that key."""
        if record is None:
            self.delete(connection, key)
        else:
            self.put(connection, key, record)

    def alter(self, connection: Connection, key: str, change: Callable[[R], R]) -> R | None:
        """Replace a record by what `change` makes of it, and return that; None where there is none."""
        found = self.get(connection, key)
        if found is None:
            return None
        changed = change(found)
        self.put(connection, key, changed)
        return changed

    def delete(self, connection: Connection, key: str) -> R | None:
        """Remove a record and return it, or None."""
        found = self.get(connection, key)
        connection.execute(delete(self._table).where(self._table.c.key == key))
        return found
