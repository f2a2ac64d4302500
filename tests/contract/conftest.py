"""The metadata stores, for the suites of their ports."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.ports import RegistryStore
from proxy.storage.metadata import MemoryMetadataStore, SqlMetadataStore
from tests.support.metadata import REPOSITORY


@pytest.fixture(params=["sql", "memory"])
async def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RegistryStore]:
    opened: RegistryStore = (
        MemoryMetadataStore() if request.param == "memory" else await SqlMetadataStore.open(tmp_path / "m.sqlite")
    )
    yield opened
    await opened.close()


@pytest.fixture
async def store(metadata: RegistryStore) -> RegistryStore:
    """A store that knows the repository, and nothing in it."""
    await metadata.create_repository(RepositoryRecord(REPOSITORY, 1.5))
    return metadata
