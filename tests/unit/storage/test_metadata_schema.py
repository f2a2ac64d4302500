"""Migrations make what the code expects, and every statement finds its rows by an index."""

import asyncio
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import ForeignKeyConstraint

from proxy.core.ports import Listing, ManifestPush, ManifestRecord, RepositoryRecord, TagRecord, TagWrite
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage import metadata as storage
from proxy.storage.errors import StoreUnusableError
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.metadata.engine import Access, open_engine
from proxy.storage.metadata.migrate import migrate
from proxy.storage.metadata.schema import REVISION, metadata


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """A database that all migrations made, from the first on."""
    path = tmp_path / "migrated.sqlite"
    _at_revision(path, "head", "")
    return path


def test_migrations_make_the_tables_of_the_schema(migrated: Path) -> None:
    engine = open_engine(migrated, Access.READ)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)
        revisions = context.get_current_heads()
    engine.dispose()

    assert differences == []
    assert revisions == (REVISION,)


def test_a_new_database_is_as_migrations_make_one(migrated: Path, tmp_path: Path) -> None:
    created = tmp_path / "created.sqlite"
    migrate(created)
    migrate(created)  # a second start finds it as it is to be

    assert _details(migrated) == _details(created)


def _details(path: Path) -> set[tuple[Any, ...]]:
    """Return what Alembic does not look at: conditions of indexes, tables without row ids, triggers, its revision."""
    connection = sqlite3.connect(path)
    parts = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type != 'table' AND sql IS NOT NULL")
    tables = connection.execute("SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main'")
    columns = connection.execute(
        'SELECT tables.name, columns.name, columns.type, "notnull", pk '
        "FROM pragma_table_list AS tables, pragma_table_info(tables.name) AS columns WHERE tables.schema = 'main'"
    )
    revisions = connection.execute("SELECT version_num FROM alembic_version")
    found = {*parts, *tables, *columns, *revisions}
    connection.close()
    return found


def _at_revision(path: Path, revision: str, script: str) -> None:
    """Make a database as the migrations up to `revision` leave it, and run `script` on it."""
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    engine = open_engine(path, Access.MIGRATE)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    database = sqlite3.connect(path)
    database.executescript(script)
    database.close()


_OF_0001 = """
INSERT INTO repositories VALUES (3, 'b'), (7, 'a');
INSERT INTO provenances VALUES (1, 7, 'quay.io/a', 'me'), (2, 3, '', '');
INSERT INTO tags VALUES (7, 'latest', 'sha256:{digest}', 'type', 'quay.io/a', 1.5, 2.5, 'ok', 0, 0);
INSERT INTO manifests VALUES (1, 'sha256:{digest}', 'type', 8, NULL, 'sha256:{digest}', '{{"k":"v"}}');
INSERT INTO descriptors VALUES (1, 'sha256:{digest}', 'sha256:{digest}', 'layer', 7, NULL, '{{}}', '[]');
INSERT INTO proofs VALUES (1, 'sha256:{digest}'), (2, 'sha256:{digest}');
INSERT INTO listings VALUES ('a', 'tags', 'quay.io/a', CAST('[]' AS BLOB), 1.5, 0);
"""


async def test_a_database_of_the_first_schema_keeps_all_that_is_in_it(tmp_path: Path) -> None:
    path, before = tmp_path / "m.sqlite", time.time()
    digest = Digest.of(b"manifest")
    await asyncio.to_thread(_at_revision, path, "0001", _OF_0001.format(digest=digest.encoded))
    store = await SqlMetadataStore.open(path)
    await store.close()
    store = await SqlMetadataStore.open(path)  # a second start finds it migrated
    name, quay = RepositoryName("a"), Provenance("quay.io/a", "me")

    record = await store.repository(name)
    assert record is not None
    assert before <= record.created_at <= time.time()
    assert record.tag_policy is None
    assert await store.repositories("", 10) == ["a", "b"]
    assert await store.tag(name, Tag("latest")) == TagRecord(Tag("latest"), digest, "type", quay.source, 1.5, 2.5)
    manifest = ManifestRecord(digest, "type", 8, subject=digest, annotations=(("k", "v"),))
    assert await store.manifest(name, digest, quay) == manifest
    assert await store.descriptor(name, digest, quay) == Descriptor("layer", digest, 7)
    assert await store.referrers(name, digest, None, "", 10) == [manifest]
    assert sorted(await store.holders(digest, 10)) == ["a", "b"]
    assert await store.listing(name, "tags", quay.source) == Listing(b"[]", 1.5)
    # What hangs on a repository still hangs on it, and names are still given once.
    assert await store.create_repository(RepositoryRecord(name, 1.0)) is False
    assert await store.delete_repository(name) is True
    assert await store.holders(digest, 10) == ["b"]
    assert await store.tags(name, None, "", 10) == []
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT id, typeof(created_at) FROM repositories").fetchall() == [(3, "real")]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


_OF_0003 = """
INSERT INTO repositories (id, name, created_at) VALUES (1, 'a', 1), (2, 'b', 1);
INSERT INTO provenances VALUES (1, 1, '', ''), (2, 1, 'quay.io/a', ''), (3, 2, '', '');
INSERT INTO manifests (provenance_id, digest, media_type, size, annotations, pushed_at)
    SELECT provenances.id, column1, 'type', 1, '{{}}', 1 FROM provenances, (VALUES ('{one}'), ('{two}'));
INSERT INTO tags VALUES (1, 'latest', '{one}', 'type', '', 1, 1, 'ok', 0, 0);
"""


async def test_a_migrated_database_knows_which_of_its_images_have_tags(tmp_path: Path) -> None:
    one, two = sorted((Digest.of(b"one"), Digest.of(b"two")), key=str)
    await asyncio.to_thread(_at_revision, tmp_path / "m.sqlite", "0003", _OF_0003.format(one=one, two=two))
    store = await SqlMetadataStore.open(tmp_path / "m.sqlite")

    async def untagged(name: str) -> list[Digest]:
        return [image.digest for image in await store.images(RepositoryName(name), "", 10, tagged=False)]

    assert (await untagged("a"), await untagged("b")) == ([two], [one, two])
    await store.delete_tag(RepositoryName("a"), Tag("latest"))
    assert await untagged("a") == [one, two]
    await store.close()


_IN_THE_WAY = """
INSERT INTO repositories VALUES (3, 'b');
CREATE INDEX ix_proofs_digest ON listings (document); -- the last step makes one of this name
"""


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    _at_revision(path, "0001", _IN_THE_WAY)
    with pytest.raises(StoreUnusableError):
        migrate(path)

    connection = sqlite3.connect(path)
    assert connection.execute("SELECT * FROM repositories").fetchall() == [(3, "b")]
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    connection.execute("DROP INDEX ix_proofs_digest")
    connection.close()
    migrate(path)


@pytest.mark.parametrize(
    "key",
    [key for table in metadata.sorted_tables for key in table.foreign_key_constraints],
    ids=lambda key: str(key.name),
)
def test_rows_that_go_with_a_deleted_row_are_found_by_an_index(key: ForeignKeyConstraint) -> None:
    columns = list(key.column_keys)
    primary = [column.name for column in key.table.primary_key]
    indexes = [[column.name for column in index.columns] for index in key.table.indexes]
    unique = [[column.name for column in constraint.columns] for constraint in _unique(key)]

    assert any(index[: len(columns)] == columns for index in [primary, *indexes, *unique])


def _unique(key: ForeignKeyConstraint) -> list[Any]:
    return [constraint for constraint in key.table.constraints if type(constraint).__name__ == "UniqueConstraint"]


async def _use_everything(store: SqlMetadataStore) -> None:
    repository = RepositoryName("docker-hub/library/nginx")
    provenance = Provenance("registry-1.docker.io/library/nginx", "user")
    digest = Digest.of(b"manifest")
    tag = TagRecord(Tag("latest"), digest, "type", provenance.source, 1.0, 1.0)
    manifest = ManifestRecord(digest, "type", 8, subject=digest)
    push = ManifestPush(manifest, (), frozenset({digest}), frozenset({digest}), TagWrite((tag,)))
    await store.create_repository(RepositoryRecord(repository, 1.0))
    await store.set_tag_policy(repository, TagPolicy(TagMutability.IMMUTABLE))
    await store.repository(repository)
    for origin in (provenance, None):
        await store.remember(
            repository, manifest, [Descriptor("type", digest, 8)], provenance=origin, tags=TagWrite((tag,))
        )
        await store.prove(repository, digest, origin)
        await store.push(repository, push, origin)
        await store.proven(repository, digest, origin)
        await store.manifest(repository, digest, origin)
        await store.descriptor(repository, digest, origin)
        await store.manifests_naming(repository, digest, origin)
        await store.tags(repository, None if origin is None else [origin.source, ""], "a", 10)
    await store.repositories("a", 10)
    await store.repository_records("a", 10)
    await store.records_of([repository, RepositoryName("b")])
    await store.policed_repositories("a", 10)
    await store.has_repository(repository)
    await store.tag(repository, tag.tag)
    await store.update_tag(repository, tag)
    await store.referrers(repository, digest, None, "", 10)
    await store.referrers(repository, digest, "sbom", "sha256:a", 10)
    await store.holders(digest, 10)
    await store.keep_listing(repository, "tags", "source", Listing(b"[]", 1.0))
    await store.listing(repository, "tags", "source")
    await store.disprove(repository, digest)
    await store.delete_tag(repository, tag.tag)
    await store.delete_tag(repository, tag.tag, "source")
    await store.delete_manifest(repository, digest)
    await store.delete_repository(repository)


def _is_slow(statement: str, step: str) -> bool:
    """Tell whether a step of a plan visits all rows of a table, or all that one repository has in a large one.

    Or all holders of one blob, but for the list of holders, which ends with the first few.
    """
    search = re.match(r"SEARCH (tags|manifests|descriptors|proofs) .*\((.*)\)", step)
    if statement.startswith("SELECT DISTINCT repositories.name") and "ix_proofs_digest (digest=?)" in step:
        return False
    return step.startswith("SCAN") or (search is not None and " AND " not in search[2])


async def test_every_statement_finds_its_rows_by_an_index(tmp_path: Path, statements: dict[str, Any]) -> None:
    store = await SqlMetadataStore.open(tmp_path / "m.sqlite")
    statements.clear()
    await _use_everything(store)
    await store.close()
    connection = sqlite3.connect(tmp_path / "m.sqlite")
    plans = {
        statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        for statement, parameters in statements.items()
        if not statement.startswith("BEGIN")
    }
    connection.close()

    assert len(plans) > 20
    assert {s: plan for s, plan in plans.items() if any(_is_slow(s, step) for step in plan)} == {}
    # Pages come out of an index in order; only names that were given before are remembered among holders.
    sorting = {step for plan in plans.values() for step in plan if "TEMP B-TREE" in step}
    assert sorting == {"USE TEMP B-TREE FOR DISTINCT"}
