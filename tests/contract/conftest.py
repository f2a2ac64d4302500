"""The metadata stores, for the suites of their ports."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.ports import MetadataStore
from proxy.storage.metadata import MemoryMetadataStore, SqlMetadataStore


@pytest.fixture(params=["sql", "memory"])
async def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MetadataStore]:
    opened: MetadataStore = (
        MemoryMetadataStore() if request.param == "memory" else await SqlMetadataStore.open(tmp_path / "m.sqlite")
    )
    yield opened
    await opened.close()
