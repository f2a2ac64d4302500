"""Writes that share a transaction end as if each had been done alone, one after the other."""

import asyncio
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.engine import Connection

from proxy.storage.metadata.database import Database
from tests.support.background import started


class RefusedError(Exception):
    """A write that thought better of it."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A write: to some keys it adds an amount, and fails behind as many of them as `fails` says (None: it does not).

    A key that would exceed the limit breaks a constraint of the table.
    """

    keys: tuple[str, ...]
    amount: int
    fails: int | None
    durable: bool
    cancelled: bool

    def work(self) -> Callable[[Connection], int]:
        def do(connection: Connection) -> int:
            total = 0
            for number, key in enumerate(self.keys):
                if number == self.fails:
                    raise RefusedError
                row = {"key": key, "amount": self.amount}
                statement = "INSERT INTO sums VALUES (:key, :amount) ON CONFLICT DO UPDATE SET total = total + :amount"
                connection.execute(text(statement + " RETURNING total"), row).all()
                total = connection.execute(text("SELECT sum(total) FROM sums")).scalar_one()
            if self.fails is not None and self.fails >= len(self.keys):
                raise RefusedError
            return total

        return do

    def model(self, sums: dict[str, int]) -> int | type[Exception]:
        """Do the same to a dictionary; return what the caller is told, 0 standing for any error."""
        after, total = dict(sums), 0
        for number, key in enumerate(self.keys):
            if number == self.fails:
                return RefusedError
            after[key] = after.get(key, 0) + self.amount
            if after[key] > LIMIT:
                return Exception
            total = sum(after.values())
        if self.fails is not None:
            return RefusedError
        sums.clear()
        sums.update(after)
        return total


LIMIT = 12

deeds = st.builds(
    Deed,
    keys=st.lists(st.sampled_from("abcd"), max_size=3).map(tuple),
    amount=st.integers(1, 5),
    fails=st.none() | st.integers(0, 3),
    durable=st.booleans(),
    cancelled=st.booleans(),
)


@given(st.lists(deeds, min_size=1, max_size=90))
@settings(max_examples=60, deadline=None)
def test_a_group_of_writes_ends_as_they_would_one_by_one(given_deeds: list[Deed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute(f"CREATE TABLE sums (key TEXT PRIMARY KEY, total INT CHECK (total <= {LIMIT}))").close()
        results = asyncio.run(_do(path, given_deeds))
        found = dict(connection.execute("SELECT key, total FROM sums"))
        connection.close()
    sums: dict[str, int] = {}
    for deed, result in zip(given_deeds, results, strict=True):
        if deed.cancelled:
            assert isinstance(result, asyncio.CancelledError)
            continue
        expected = deed.model(sums)
        assert result == expected if isinstance(expected, int) else isinstance(result, expected)
    assert found == sums


async def _do(path: Path, given_deeds: Sequence[Deed]) -> list[int | BaseException]:
    database = await asyncio.to_thread(Database, path)
    begun, may_go_on = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        begun.set()
        may_go_on.wait()

    first = started(database.write("hold", hold))
    await asyncio.to_thread(begun.wait)
    waiting = [started(database.write("deed", deed.work(), durable=deed.durable)) for deed in given_deeds]
    await asyncio.sleep(0)
    for deed, each in zip(given_deeds, waiting, strict=True):
        if deed.cancelled:
            each.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    await first
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await database.close()
    return results
