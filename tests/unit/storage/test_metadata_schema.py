"""Migrations make what the code expects, and every statement finds its rows by an index."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, ForeignKeyConstraint, event

from proxy.core.ports import Listing, ManifestRecord, TagRecord
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.metadata.engine import Access, open_engine
from proxy.storage.metadata.migrate import migrate
from proxy.storage.metadata.schema import REVISION, metadata


def test_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    migrate(tmp_path / "migrated.sqlite")
    engine = open_engine(tmp_path / "migrated.sqlite", Access.READ)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)
        revisions = context.get_current_heads()
    engine.dispose()

    assert differences == []
    assert revisions == (REVISION,)


def test_migrations_agree_with_the_schema_where_alembic_does_not_look(tmp_path: Path) -> None:
    migrate(tmp_path / "migrated.sqlite")
    engine = open_engine(tmp_path / "created.sqlite", Access.MIGRATE)
    metadata.create_all(engine)
    engine.dispose()

    assert _details(tmp_path / "migrated.sqlite") == _details(tmp_path / "created.sqlite")


def _details(path: Path) -> set[tuple[Any, ...]]:
    """Return the definitions of the indexes (with conditions), and which tables are without row ids."""
    connection = sqlite3.connect(path)
    indexes = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    tables = connection.execute("SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main'")
    found = {*indexes, *tables}
    connection.close()
    return {row for row in found if row[0] != "alembic_version"}


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


@pytest.fixture
def statements() -> Iterator[dict[str, Any]]:
    """Every statement that runs meanwhile, with an example of its parameters."""
    seen: dict[str, Any] = {}

    def record(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401 - whatever the driver takes
        seen[statement] = parameters[0] if isinstance(parameters, list) else parameters

    event.listen(Engine, "before_cursor_execute", record)
    yield seen
    event.remove(Engine, "before_cursor_execute", record)


async def _use_everything(store: SqlMetadataStore) -> None:
    repository = RepositoryName("docker-hub/library/nginx")
    provenance = Provenance("registry-1.docker.io/library/nginx", "user")
    digest = Digest.of(b"manifest")
    tag = TagRecord(Tag("latest"), digest, "type", provenance.source, 1.0, 1.0)
    manifest = ManifestRecord(digest, "type", 8, subject=digest)
    for origin in (provenance, None):
        await store.remember(repository, manifest, [Descriptor("type", digest, 8)], provenance=origin, tag=tag)
        await store.prove(repository, digest, origin)
        await store.proven(repository, digest, origin)
        await store.manifest(repository, digest, origin)
        await store.descriptor(repository, digest, origin)
        await store.manifests_naming(repository, digest, origin)
        await store.tags(repository, None if origin is None else origin.source, "a", 10)
    await store.repositories("a", 10)
    await store.has_repository(repository)
    await store.tag(repository, tag.tag)
    await store.update_tag(repository, tag)
    await store.referrers(repository, digest)
    await store.keep_listing(repository, "tags", "source", Listing(b"[]", 1.0))
    await store.listing(repository, "tags", "source")
    await store.disprove(repository, digest)
    await store.delete_tag(repository, tag.tag)
    await store.delete_manifest(repository, digest)
    await store.delete_repository(repository)


def _is_slow(step: str) -> bool:
    """Tell whether a step of a plan visits all rows of a table, or all that one repository has in a large one."""
    search = re.match(r"SEARCH (tags|manifests|descriptors|proofs) .*\((.*)\)", step)
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
    assert {s: plan for s, plan in plans.items() if any(_is_slow(step) for step in plan)} == {}
    # Pages of names come out of an index in order; only the few referrers of one subject are sorted.
    sorting = [s for s, plan in plans.items() if any("TEMP B-TREE" in step for step in plan)]
    assert all("manifests.subject = ?" in statement for statement in sorting)
