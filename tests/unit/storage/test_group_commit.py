"""Writes that wait at the same time are committed together, and nobody can tell; look-ups share a snapshot."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from proxy.core.ports import RepositoryRecord, StorageFullError, TagRecord, TagWrite
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.metadata.catalog import keep_tags
from proxy.storage.metadata.database import Database
from proxy.storage.metadata.writer import demand_durability
from tests.support.background import started
from tests.support.limits import largest_file

T = TypeVar("T")

MIB = 1 << 20
NORMAL, FULL = 1, 2  # https://www.sqlite.org/pragma.html#pragma_synchronous


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "some.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("CREATE TABLE notes (key TEXT PRIMARY KEY, value BLOB) STRICT").close()
    connection.close()
    return file


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await asyncio.to_thread(Database, path, 0.05)
    yield opened
    await opened.close()


def put(key: str, value: bytes = b"") -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO notes VALUES (:key, :value)"), {"key": key, "value": value})
        return key

    return work


def keys(path: Path) -> list[str]:
    """Return what another process would see."""
    connection = sqlite3.connect(path)
    found = [key for (key,) in connection.execute("SELECT key FROM notes ORDER BY rowid")]
    connection.close()
    return found


def level(connection: Connection) -> object:
    return connection.exec_driver_sql("PRAGMA synchronous").scalar()


class Held:
    """A writer that stands still in its first write, until the block is left in which others are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begun = threading.Event()
        self._may_end = threading.Event()

    async def __aenter__(self) -> Self:
        self._first = started(self._database.write("first", self._work))
        await asyncio.to_thread(self._begun.wait)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)  # all that were asked for wait in the queue
        self._may_end.set()
        await self._first

    def ask(self, work: Callable[[Connection], T], *, durable: bool = True) -> asyncio.Task[T]:
        return started(self._database.write("other", work, durable=durable))

    def _work(self, _: Connection) -> None:
        self._begun.set()
        self._may_end.wait()


async def test_writes_that_wait_are_committed_together_and_in_order(database: Database, path: Path) -> None:
    seen: list[list[str]] = []
    async with Held(database) as held:
        waiting = [held.ask(put(key)) for key in "cab"]
        looking = held.ask(lambda _: seen.append(keys(path)))
    assert await asyncio.gather(*waiting) == ["c", "a", "b"]
    await looking
    assert seen == [[]]  # nothing was committed before all was
    assert keys(path) == ["c", "a", "b"]


async def test_more_writes_than_one_transaction_takes_are_all_done(database: Database, path: Path) -> None:
    names = [f"{number:04}" for number in range(200)]
    async with Held(database) as held:
        waiting = [held.ask(put(name)) for name in names]
    assert await asyncio.gather(*waiting) == names
    assert keys(path) == names


async def test_a_write_that_fails_leaves_nothing_and_others_do_not_notice(database: Database, path: Path) -> None:
    def fail(connection: Connection) -> None:
        put("half")(connection)
        raise LookupError

    async with Held(database) as held:
        waiting = [held.ask(put("before")), held.ask(fail), held.ask(put("before")), held.ask(put("after"))]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [str, LookupError, IntegrityError, str]
    assert keys(path) == ["before", "after"]


async def test_a_write_that_is_too_large_for_the_device_fails_alone(database: Database, path: Path) -> None:
    with largest_file(2 * MIB):
        async with Held(database) as held:
            waiting = [held.ask(put("before")), held.ask(put("large", bytes(4 * MIB))), held.ask(put("after"))]
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [str, StorageFullError, str]
    assert keys(path) == ["before", "after"]


async def test_writes_that_are_locked_out_are_all_told(database: Database, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE").close()
    works = (database.write("locked out", put(key)) for key in "abc")
    results = await asyncio.gather(*works, return_exceptions=True)
    other.execute("ROLLBACK").close()
    other.close()
    assert [str(result) for result in results] == [f"cannot write to {path}: another process keeps it locked"] * 3
    assert await database.write("again", put("d")) == "d"
    assert keys(path) == ["d"]


async def test_a_write_that_spoils_the_transaction_of_all_fails_alone(database: Database, path: Path) -> None:
    def spoil(connection: Connection) -> None:
        connection.exec_driver_sql("RELEASE one")  # what is around each write of several

    async with Held(database) as held:
        waiting = [held.ask(put("before")), held.ask(spoil), held.ask(put("after"))]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [str, OperationalError, str]
    assert keys(path) == ["before", "after"]


async def test_waiting_for_another_process_takes_nothing_off_the_time_of_a_transaction(path: Path) -> None:
    database = await asyncio.to_thread(Database, path, 10)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    asked = threading.Event()

    def leave_to_other(connection: Connection) -> None:
        asked.wait()
        connection.exec_driver_sql("ROLLBACK")
        other.execute("BEGIN IMMEDIATE").close()

    seen: list[list[str]] = []
    works = [leave_to_other, *map(put, "abc"), lambda _: seen.append(keys(path))]
    waiting = [started(database.write("waiting", work)) for work in works]
    await asyncio.sleep(0)  # all wait in the queue
    asked.set()
    await asyncio.sleep(0.1)  # longer than a transaction takes writes
    other.execute("ROLLBACK").close()
    other.close()
    await asyncio.gather(*waiting, return_exceptions=True)
    await database.close()
    assert seen == [[]]
    assert keys(path) == ["a", "b", "c"]


async def test_a_database_that_is_closed_tells_everyone(path: Path) -> None:
    database = await asyncio.to_thread(Database, path)
    await database.close()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(database.write("late", put("late")), 10)


async def test_a_caller_that_leaves_before_its_turn_leaves_nothing(database: Database, path: Path) -> None:
    async with Held(database) as held:
        left, stays = held.ask(put("left")), held.ask(put("stays"))
        await asyncio.sleep(0)
        left.cancel()
    assert await stays == "stays"
    assert keys(path) == ["stays"]


async def test_what_can_be_had_again_waits_for_no_device_unless_something_beside_it_does(database: Database) -> None:
    assert await database.write("durable", level) == FULL
    assert await database.write("not durable", level, durable=False) == NORMAL
    async with Held(database) as held:
        waiting = [held.ask(level, durable=False), held.ask(level)]
    assert await asyncio.gather(*waiting) == [FULL, FULL]
    assert await database.write("durable", level) == FULL


async def test_a_write_may_find_out_that_it_must_be_durable(database: Database, path: Path) -> None:
    levels: list[object] = []

    def work(connection: Connection) -> str:
        levels.append(level(connection))
        demand_durability(connection)
        return put("kept")(connection)

    assert await database.write("demanding", work, durable=False) == "kept"
    assert levels == [NORMAL, FULL]
    assert keys(path) == ["kept"]
    assert await database.write("not durable", level, durable=False) == NORMAL


async def test_a_demand_does_not_outlive_the_write_that_made_it(database: Database) -> None:
    def fail(connection: Connection) -> None:
        demand_durability(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write("failing", fail, durable=False)
    runs: list[object] = []
    await database.write("plain", lambda c: runs.append(level(c)), durable=False)
    assert runs == [NORMAL]


@pytest.mark.parametrize(
    ("policy", "levels"), [(TagPolicy(), [NORMAL]), (TagPolicy(TagMutability.IMMUTABLE), [NORMAL, FULL])]
)
async def test_a_pulled_tag_that_may_not_move_is_durable(tmp_path: Path, policy: TagPolicy, levels: list[int]) -> None:
    store = await SqlMetadataStore.open(tmp_path / "m.sqlite")
    await store.create_repository(RepositoryRecord(RepositoryName("hub/some"), 1.0))
    await store.close()
    tag = TagRecord(Tag("latest"), Digest.of(b"manifest"), "type", "registry.test/some", 1.0, 1.0)
    seen: list[object] = []

    def work(connection: Connection) -> None:
        seen.append(level(connection))
        keep_tags(connection, 1, TagWrite((tag,), policy))

    database = await asyncio.to_thread(Database, tmp_path / "m.sqlite")
    await database.write("pull", work, durable=False)
    await database.close()
    assert seen == levels


async def test_the_generation_is_another_when_a_write_returns(database: Database) -> None:
    async with Held(database) as held:
        before = database.generation()
        waiting = [held.ask(put(key), durable=False) for key in "ab"]
    seen = [database.generation() async for _ in _as_they_come(waiting)]
    assert before not in seen
    assert len(set(seen)) == 1


async def _as_they_come(waiting: list[asyncio.Task[str]]) -> AsyncIterator[object]:
    for each in asyncio.as_completed(waiting):
        yield await each


async def test_look_ups_that_wait_share_a_snapshot_and_fail_alone(database: Database, path: Path) -> None:
    def count(connection: Connection) -> object:
        return connection.execute(text("SELECT count(*) FROM notes")).scalar()

    def count_and_write(connection: Connection) -> object:
        found = count(connection)
        other = sqlite3.connect(path)
        with other:
            other.execute("INSERT INTO notes VALUES (?, NULL)", (str(found),))
        other.close()
        return found

    def fail(_: Connection) -> None:
        raise LookupError

    works: list[Callable[[Connection], object]] = [count_and_write, fail, count]
    results = await asyncio.gather(*(database.look_up("look", work) for work in works), return_exceptions=True)
    assert results[0] == 0
    assert isinstance(results[1], LookupError)
    assert await database.look_up("look", count) == 1


ACKNOWLEDGING = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import text
from proxy.storage.metadata.database import Database

async def main():
    database = Database(Path(sys.argv[1]))
    async def one(number):
        await database.write(
            "put",
            lambda c: c.execute(text("INSERT INTO notes VALUES (:key, NULL)"), {"key": str(number)}),
            durable=bool(number % 3),
        )
        print(number, flush=True)
    for start in range(0, 100_000, 40):
        await asyncio.gather(*(one(number) for number in range(start, start + 40)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 50, 333])
def test_what_was_acknowledged_is_there_after_a_kill(path: Path, acknowledged: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ACKNOWLEDGING, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [next(writer.stdout) for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.readlines()
    assert {line.strip() for line in told if line.endswith("\n")} <= set(keys(path))
