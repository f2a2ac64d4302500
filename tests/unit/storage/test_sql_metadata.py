"""What the SQL store promises beyond the ports: durability, several processes, files in trouble."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from proxy.core.ports import (
    Listing,
    ManifestPush,
    ManifestRecord,
    RepositoryRecord,
    StorageFullError,
    TagKeptError,
    TagRecord,
    TagWrite,
)
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.errors import SchemaTooNewError, StoreUnusableError
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.metadata.database import Database
from proxy.storage.metadata.schema import REVISION
from tests.support.limits import largest_file

REPOSITORY = RepositoryName("docker-hub/library/nginx")
HUB = Provenance("registry-1.docker.io/library/nginx", "")
DIGEST = Digest.of(b"manifest")
MANIFEST = ManifestRecord(DIGEST, "type", 8)
MIB = 1 << 20


def tag(name: str) -> TagRecord:
    return TagRecord(Tag(name), DIGEST, "type", HUB.source, 1.0, 1.0)


async def remember(store: SqlMetadataStore, name: str) -> None:
    await store.remember(
        REPOSITORY, MANIFEST, [Descriptor("layer", DIGEST, 1)], provenance=HUB, tags=TagWrite((tag(name),))
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "metadata.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlMetadataStore]:
    opened = await SqlMetadataStore.open(path, busy_timeout=0.05)
    yield opened
    await opened.close()


@pytest.fixture
async def database(store: SqlMetadataStore, path: Path) -> AsyncIterator[Database]:  # noqa: ARG001 - makes the file
    opened = await asyncio.to_thread(Database, path)
    yield opened
    await opened.close()


def pragma(name: str, connection: Connection) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_a_commit_survives_power_loss(database: Database) -> None:
    assert await database.write("test", lambda c: pragma("synchronous", c)) == 2  # FULL
    assert await database.write("test", lambda c: pragma("journal_mode", c)) == "wal"
    assert await database.write("test", lambda c: pragma("foreign_keys", c)) == 1


async def test_a_reader_cannot_write(database: Database) -> None:
    assert await database.read("test", lambda c: pragma("query_only", c)) == 1


async def test_what_was_kept_is_there_after_a_restart(path: Path) -> None:
    first = await SqlMetadataStore.open(path)
    await remember(first, "latest")
    await first.close()
    second = await SqlMetadataStore.open(path)

    assert await second.tag(REPOSITORY, Tag("latest")) == tag("latest")
    assert await second.manifest(REPOSITORY, DIGEST, HUB) == MANIFEST
    await second.close()


async def test_a_closed_store_leaves_one_file(path: Path) -> None:
    store = await SqlMetadataStore.open(path)
    await remember(store, "latest")
    await store.close()

    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_failure_in_the_middle_keeps_nothing(store: SqlMetadataStore) -> None:
    too_large = Descriptor("layer", DIGEST, 1 << 63)  # the last thing written before the tag
    with pytest.raises(OverflowError):
        await store.remember(REPOSITORY, MANIFEST, [too_large], provenance=HUB, tags=TagWrite((tag("latest"),)))

    assert await store.has_repository(REPOSITORY) is False
    assert await store.manifest(REPOSITORY, DIGEST, None) is None
    assert await store.tag(REPOSITORY, Tag("latest")) is None
    await remember(store, "latest")
    assert await store.tag(REPOSITORY, Tag("latest")) == tag("latest")


async def test_a_failure_in_the_middle_of_a_push_keeps_nothing(store: SqlMetadataStore) -> None:
    await store.create_repository(RepositoryRecord(REPOSITORY, 1.0))
    too_large = Descriptor("layer", DIGEST, 1 << 63)
    with pytest.raises(OverflowError):
        await store.push(REPOSITORY, ManifestPush(MANIFEST, (too_large,), tags=TagWrite((tag("latest"),))), None)

    assert await store.manifest(REPOSITORY, DIGEST, None) is None
    assert await store.tag(REPOSITORY, Tag("latest")) is None


async def test_a_policy_is_obeyed_by_other_stores_on_the_file_at_once(store: SqlMetadataStore, path: Path) -> None:
    other = await SqlMetadataStore.open(path)
    await remember(store, "latest")
    await remember(other, "latest")
    moved = ManifestRecord(Digest.of(b"moved"), "type", 5)
    write = TagWrite((replace(tag("latest"), digest=moved.digest),))
    await store.set_tag_policy(REPOSITORY, TagPolicy(TagMutability.IMMUTABLE))
    assert await other.repository(REPOSITORY) == await store.repository(REPOSITORY)
    with pytest.raises(TagKeptError):
        await other.push(REPOSITORY, ManifestPush(moved, tags=write), None)
    with pytest.raises(TagKeptError):
        await other.remember(REPOSITORY, moved, (), provenance=HUB, tags=write)

    await store.set_tag_policy(REPOSITORY, None)
    await other.push(REPOSITORY, ManifestPush(moved, tags=write), None)
    assert await store.tag(REPOSITORY, Tag("latest")) == write.records[0]
    await other.close()


async def test_stores_that_start_at_once_on_a_new_file_all_work(path: Path) -> None:
    stores = await asyncio.gather(*(SqlMetadataStore.open(path) for _ in range(6)))
    await asyncio.gather(*(remember(store, f"v{number}") for number, store in enumerate(stores * 5)))

    for store in stores:
        assert len(await store.tags(REPOSITORY, None, "", 100)) == 30
    for store in stores:
        await store.close()


async def test_processes_that_start_at_once_on_a_new_file_lose_nothing(path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.storage.metadata import SqlMetadataStore
async def main():
    store = await SqlMetadataStore.open(Path(sys.argv[1]))
    for number in range(20):
        await store.prove(RepositoryName(f"r{sys.argv[2]}-{number}"), Digest.of(b"x"), None)
    await store.close()
asyncio.run(main())
"""

    def run(number: int) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, "-c", program, str(path), str(number)], check=False, capture_output=True)

    ended = await asyncio.gather(*(asyncio.to_thread(run, number) for number in range(3)))
    assert [process.stderr for process in ended if process.returncode] == []
    store = await SqlMetadataStore.open(path)

    assert len(await store.repositories("", 100)) == 60
    await store.close()


async def test_a_write_that_is_locked_out_is_told_within_bounds(store: SqlMetadataStore, path: Path) -> None:
    await remember(store, "before")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFullError, match=f"cannot write to {path}: another process keeps it locked"):
        await remember(store, "locked-out")

    assert await store.tags(REPOSITORY, None, "", 10) == ["before"]  # reads go on
    other.execute("ROLLBACK")
    other.close()
    await remember(store, "after")
    assert await store.tags(REPOSITORY, None, "", 10) == ["after", "before"]


async def test_a_device_without_room_is_told_and_the_store_goes_on(store: SqlMetadataStore, path: Path) -> None:
    await remember(store, "before")
    with largest_file(2 * MIB), pytest.raises(StorageFullError, match=f"cannot write to {path}"):
        await store.keep_listing(REPOSITORY, "tags", HUB.source, Listing(bytes(4 * MIB), 1.0))

    assert await store.tags(REPOSITORY, None, "", 10) == ["before"]
    assert await store.listing(REPOSITORY, "tags", HUB.source) is None
    await store.keep_listing(REPOSITORY, "tags", HUB.source, Listing(bytes(4 * MIB), 1.0))
    assert await store.listing(REPOSITORY, "tags", HUB.source) == Listing(bytes(4 * MIB), 1.0)


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    store = await SqlMetadataStore.open(path)
    await remember(store, "latest")
    await store.close()
    _execute(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNewError, match=rf"^The metadata database {path} was written by a newer .*9999.*\.$"):
        await SqlMetadataStore.open(path)

    _execute(path, "UPDATE alembic_version SET version_num = ?", REVISION)
    store = await SqlMetadataStore.open(path)
    assert await store.tag(REPOSITORY, Tag("latest")) == tag("latest")
    await store.close()


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    _execute(path, "CREATE TABLE songs (name TEXT)")
    with pytest.raises(StoreUnusableError, match=rf"^The file {path} is the database of another program.*\.$"):
        await SqlMetadataStore.open(path)

    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("songs",)]
    connection.close()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)  # noqa: ASYNC240 - a test may block
    with pytest.raises(StoreUnusableError, match=rf"^The metadata database {path} cannot be used \(.*\.$"):
        await SqlMetadataStore.open(path)

    assert path.read_bytes() == b"not a database" * 1000  # noqa: ASYNC240 - a test may block


async def test_a_folder_in_the_place_of_the_file_is_refused_in_a_sentence(path: Path) -> None:
    path.mkdir(parents=True)  # noqa: ASYNC240 - a test may block
    with pytest.raises(StoreUnusableError, match=rf"^The metadata database {path} cannot be used \(.*\.$"):
        await SqlMetadataStore.open(path)


async def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence() -> None:
    with pytest.raises(StoreUnusableError, match=r"^The store at /proc/store cannot be used \(.*\.$"):
        await SqlMetadataStore.open(Path("/proc/store/metadata.sqlite"))


async def test_a_path_with_odd_characters_is_only_a_path(tmp_path: Path) -> None:
    path = tmp_path / "100%s ?mode=memory #x" / "m.sqlite"
    store = await SqlMetadataStore.open(path)
    await remember(store, "latest")
    await store.close()

    assert path.is_file()


def _execute(path: Path, statement: str, *values: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()
