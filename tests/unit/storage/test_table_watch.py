"""What tells whether rules were changed: every change is seen, whoever makes it, and other writes are not mistaken."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.registry.records import RuleRecord
from proxy.model.digest import Digest
from proxy.storage.metadata import SqlMetadataStore
from tests.support.metadata import HUB, REPOSITORY

RULE = RuleRecord("quay", "quay.io", 1.0)
WRITES = 60
"""Proofs that lie on a page or two: writing them makes the file longer once or twice."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlMetadataStore]:
    opened = await SqlMetadataStore.open(path)
    yield opened
    await opened.close()


async def look(store: SqlMetadataStore) -> object:
    """Look at the rules as a server does, and return the generation that stands for them."""
    store.rules_generation()
    await store.rules_revision()
    return store.rules_generation()


async def prove(store: SqlMetadataStore, number: int) -> None:
    await store.prove(REPOSITORY, Digest.of(str(number).encode()), HUB)


def sql(path: Path, *statements: str) -> None:
    """Do something on a connection of its own, as another program does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).close()


async def test_pulls_are_not_mistaken_for_changes_of_rules(store: SqlMetadataStore, path: Path) -> None:
    other = await SqlMetadataStore.open(path)
    look_ups, known = 0, await look(store)
    for number in range(WRITES):
        await prove((store, other)[number % 2], number)
        if store.rules_generation() != known:
            look_ups, known = look_ups + 1, await look(store)
    await other.close()

    assert look_ups < WRITES / 4


async def test_a_change_of_another_process_is_seen_among_many_other_commits(
    store: SqlMetadataStore, path: Path
) -> None:
    await store.create_rule(RULE, None)
    await prove(store, 0)
    other = await SqlMetadataStore.open(path)
    known = await look(store)
    await prove(store, 1)
    await prove(other, 2)
    await other.alter_rule(RULE.key, lambda old: old)
    await prove(store, 3)
    await other.close()

    assert store.rules_generation() != known


@pytest.mark.parametrize(
    "deed",
    [
        ("VACUUM",),
        ("ALTER TABLE revisions RENAME TO old", "CREATE TABLE revisions AS SELECT * FROM old"),
        ("PRAGMA wal_checkpoint(TRUNCATE)",),
    ],
    ids=["packed", "moved to another page", "the log begun anew"],
)
async def test_a_change_is_seen_after_another_program_has(
    store: SqlMetadataStore, path: Path, deed: tuple[str, ...]
) -> None:
    # What is free before the table lets a packed one have another page.
    sql(path, "CREATE TABLE large AS SELECT randomblob(90000) AS a", "CREATE TABLE b (a)", "DROP TABLE large")
    known = await look(store)
    await asyncio.to_thread(sql, path, *deed, "INSERT INTO revisions VALUES ('rules', 9)")
    assert store.rules_generation() != known

    known = await look(store)
    assert await store.rules_revision() == 9
    await prove(store, 1)
    assert store.rules_generation() == known
    await asyncio.to_thread(sql, path, "UPDATE revisions SET number = 10")
    assert store.rules_generation() != known


async def test_a_table_of_many_rows_is_not_trusted_to_be_on_one_page(store: SqlMetadataStore, path: Path) -> None:
    rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT 'other ' || i, 1 FROM n"
    await asyncio.to_thread(sql, path, "INSERT INTO revisions " + rows)
    known = await look(store)
    await asyncio.to_thread(sql, path, "UPDATE revisions SET number = 2 WHERE name = 'other 500'")

    assert store.rules_generation() != known


async def test_a_change_that_is_taken_over_before_it_is_looked_for_is_a_change(path: Path) -> None:
    store = await SqlMetadataStore.open(path)
    known = store.rules_generation()
    await store.delete_rule(RULE.key)
    await store.rules_revision()
    assert store.rules_generation() != known
    await store.close()


STATEMENTS = {
    "checkpoint": "PRAGMA wal_checkpoint(PASSIVE)",
    "begin the log anew": "PRAGMA wal_checkpoint(TRUNCATE)",
    "pack": "VACUUM",
}
steps = st.lists(st.tuples(st.sampled_from(["rule", "proof", "look", *STATEMENTS]), st.integers(0, 1)), max_size=30)


@given(steps=steps)
@settings(max_examples=25, deadline=None)
def test_equal_generations_mean_equal_rules(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder) / "m.sqlite", steps))


async def compare(path: Path, steps: list[tuple[str, int]]) -> None:
    """Do what the steps say by two stores, and hold what these tell to the number of changes."""
    stores = [await SqlMetadataStore.open(path) for _ in range(2)]
    told: list[dict[object, int]] = [{}, {}]
    revision = 0
    for number, (deed, who) in enumerate(steps):
        if deed == "rule":
            await stores[who].delete_rule("any")
            revision += 1
        elif deed == "proof":
            await prove(stores[who], number)
        elif deed == "look":
            assert await stores[who].rules_revision() == revision
        else:
            sql(path, STATEMENTS[deed])
        for store, known in zip(stores, told, strict=True):
            if number % 3:  # a process that is asked nothing looks later
                assert known.setdefault(store.rules_generation(), revision) == revision
    for store in stores:
        await store.close()
