"""Repositories that must be there, read and changed by their names."""

from collections.abc import Callable
from dataclasses import replace

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import RepositoryDetails
from proxy.model.reference import RepositoryName


class KnownRepositories:
    """Repositories by name. Every method raises `ApiError` RepositoryNotFoundException where there is none of it."""

    def __init__(self, store: RegistryStore, identity: RegistryIdentity) -> None:
        self._store = store
        self._identity = identity

    async def get(self, name: RepositoryName) -> RepositoryRecord:
        """Return the repository."""
        record = await self._store.repository(name)
        if record is None:
            raise self._identity.unknown(name)
        return record

    async def alter(
        self, name: RepositoryName, change: Callable[[RepositoryRecord], RepositoryRecord]
    ) -> RepositoryRecord:
        """Replace tag policy and details by what `change`, a pure function, makes of them, and return what is now."""
        record = await self._store.alter_repository(name, change)
        if record is None:
            raise self._identity.unknown(name)
        return record

    async def alter_details(
        self, name: RepositoryName, change: Callable[[RepositoryDetails], RepositoryDetails]
    ) -> RepositoryRecord:
        """Replace the details alone, as `alter` does."""
        return await self.alter(name, lambda record: replace(record, details=change(record.details)))
