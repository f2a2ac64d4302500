"""The metadata store over SQLite: all ports on one database."""

import asyncio
from pathlib import Path
from typing import Self

from proxy.storage.metadata.administration import SqlAdministration
from proxy.storage.metadata.catalog import SqlCatalog
from proxy.storage.metadata.database import Database
from proxy.storage.metadata.engine import BUSY_TIMEOUT
from proxy.storage.metadata.images import SqlImages
from proxy.storage.metadata.listings import SqlListings
from proxy.storage.metadata.manifests import SqlManifests
from proxy.storage.metadata.migrate import migrate
from proxy.storage.metadata.proofs import SqlProofs
from proxy.storage.metadata.repositories import SqlRepositories


class SqlMetadataStore(SqlCatalog, SqlRepositories, SqlManifests, SqlProofs, SqlListings, SqlImages, SqlAdministration):
    """The `RegistryStore` port. Several processes may open the same file, on one machine."""

    @classmethod
    async def open(cls, path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> Self:
        """Open the database at `path`, which is made or migrated as needed; the caller closes the store.

        A write tries a few times for `busy_timeout` seconds each while another process holds the lock.
        Raises `StoreUnusableError`, or its `SchemaTooNewError` where a newer version has written the file.
        """
        return cls(await asyncio.to_thread(_open, path, busy_timeout))

    def generation(self) -> object:
        """Return a value that equals one returned before only if nothing was written in between."""
        return self._database.generation()

    async def close(self) -> None:
        """Release the database; no other call may follow."""
        await self._database.close()


def _open(path: Path, busy_timeout: float) -> Database:
    migrate(path)
    return Database(path, busy_timeout)
