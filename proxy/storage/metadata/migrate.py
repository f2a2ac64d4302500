"""Open a database at the schema of this version, or refuse it in a sentence."""

from pathlib import Path
from typing import Final

import stamina
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from proxy.storage.errors import StoreUnusableError, unusable
from proxy.storage.metadata.engine import Access, is_busy, open_engine
from proxy.storage.metadata.schema import REVISION, metadata

# The table in which Alembic keeps the revision: a new database needs nothing else of it, and importing it takes 0.1 s.
_VERSIONS: Final = (
    "CREATE TABLE alembic_version "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def migrate(path: Path) -> None:
    """Make the database at `path` if it is absent, and bring it to the newest revision. Blocks.

    All in one transaction, which takes SQLite's write lock first: of two processes that start at once, one migrates
    and the other waits and finds the work done; a migration that fails leaves the database as it was.
    Raises `StoreUnusableError`, or `SchemaTooNewError` for a database of a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(path.parent, error) from error
    engine = open_engine(path, Access.MIGRATE)
    try:
        # Turning on the write-ahead log does not wait for locks as statements do, hence attempts.
        for attempt in stamina.retry_context(on=is_busy, attempts=20, timeout=60, wait_initial=0.05, wait_max=2):
            with attempt, engine.begin() as connection:
                _upgrade(connection, path)
    except DBAPIError as error:
        raise StoreUnusableError(
            f"The metadata database {path} cannot be used ({error.orig}): "
            "give this user write access, make room, or restore the file from a backup; "
            "without it the cache starts empty."
        ) from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection, path: Path) -> None:
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'table'").scalars())
    current: set[str] = set()
    if "alembic_version" in tables:
        current = set(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())
    elif tables:
        raise StoreUnusableError(
            f"The file {path} is the database of another program: set storage.path to another folder."
        )
    if not tables:
        # https://alembic.sqlalchemy.org/en/latest/cookbook.html#building-an-up-to-date-database-from-scratch
        metadata.create_all(connection)
        connection.exec_driver_sql(_VERSIONS)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (REVISION,))
    elif current != {REVISION}:
        from proxy.storage.metadata.upgrade import upgrade  # noqa: PLC0415 - Alembic costs each start 0.1 s

        upgrade(connection, path, current)
