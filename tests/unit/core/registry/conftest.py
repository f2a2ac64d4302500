"""The services of administrators over stores and upstreams in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.offloading import Offloader
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.images import ImageAdministration
from proxy.core.registry.locator import RepositoryLocator
from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.store import SqlMetadataStore
from tests.support.bodies import body
from tests.unit.core.conftest import Bench
from tests.unit.core.registry.imaging import CONFIG, IDENTITY, LAYER, NAME


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[SqlMetadataStore]:
    opened = await SqlMetadataStore.open(tmp_path / "m.sqlite")
    yield opened
    await opened.close()


@pytest.fixture
def pulled() -> list[tuple[RepositoryName, Digest]]:
    return []


@pytest.fixture
def images(bench: Bench, pulled: list[tuple[RepositoryName, Digest]]) -> ImageAdministration:
    def note(resolution: Resolution, found: Digest) -> None:
        pulled.append((resolution.repository, found))

    locator = RepositoryLocator(bench.metadata, bench.book, IDENTITY)
    return ImageAdministration(
        bench.metadata, locator, bench.manifests, bench.pushes, bench.listings, IDENTITY, note, Offloader()
    )


@pytest.fixture
async def filled(bench: Bench, images: ImageAdministration) -> ImageAdministration:
    """The repository, with the blobs of `IMAGE`."""
    await bench.metadata.create_repository(RepositoryRecord(NAME, 1.0))
    for blob in (CONFIG, LAYER):
        await bench.uploads.whole(bench.resolve(NAME), Digest.of(blob), Chunk(body(blob)))
    return images
