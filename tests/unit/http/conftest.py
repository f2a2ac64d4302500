"""The whole product behind the surfaces, over stores and an upstream in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from pytest_aiohttp.plugin import AiohttpClient

from proxy.config.addresses import parse_upstream
from proxy.config.settings import FillSettings, ServerSettings, UpstreamSettings
from proxy.core.blobs import BlobService
from proxy.core.contents import ManifestContents
from proxy.core.fills import Fills
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.rules import Resolution, RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.http.application import build_application
from proxy.http.services import Services
from proxy.model.digest import Digest
from proxy.model.rule import CacheRule
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.partials.memory import MemoryPartialStore
from proxy.storage.uploads.memory import MemoryUploadStore
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.writing import writing
from tests.unit.http.filler import CountedFills
from tests.unit.http.upstream import MemoryUpstream

Client = TestClient[Request, Application]

RULES = (
    CacheRule("docker-hub", parse_upstream("registry-1.docker.io")),
    CacheRule("quay", parse_upstream("quay.io")),
    CacheRule("open", parse_upstream("open.test"), push=True),
)


@dataclass
class Health:
    """What the server is asked for by ``/readyz``."""

    ready: bool = True


class Pulls:
    """The `PullWatcher` that remembers: (repository, digest) of manifests and of whole blobs."""

    def __init__(self) -> None:
        self.manifests: list[tuple[str, Digest]] = []
        self.blobs: list[tuple[str, Digest]] = []

    def manifest_pulled(self, resolution: Resolution, digest: Digest) -> None:
        self.manifests.append((resolution.repository, digest))

    def blob_pulled(self, resolution: Resolution, digest: Digest) -> None:
        self.blobs.append((resolution.repository, digest))


@dataclass
class Stack:
    services: Services
    store: MemoryBlobStore
    upstream: MemoryUpstream
    fills: CountedFills
    clock: FakeClock
    health: Health = field(default_factory=Health)
    pulls: Pulls = field(default_factory=Pulls)

    def serving(self, server: ServerSettings) -> Services:
        return replace(self.services, server=server)


@pytest.fixture
def store() -> MemoryBlobStore:
    """What keeps the blobs; where they are in files, tests have another."""
    return MemoryBlobStore()


@pytest.fixture
async def stack(clock: FakeClock, store: MemoryBlobStore) -> AsyncIterator[Stack]:
    upstream, metrics, health, pulls = MemoryUpstream(), Metrics(), Health(), Pulls()
    metadata = MemoryMetadataStore()
    async with Tasks() as tasks:
        upstreams = Upstreams(upstream, tasks, clock, Policy(), metrics, Offloader())
        partials, filling, asking = MemoryPartialStore(store), FillSettings(), UpstreamSettings()
        fills = CountedFills(Fills(partials, store, tasks, clock, filling, asking, 0, metrics))
        memory = ContentMemory(64 << 20, metrics)
        rules, contents = RuleBook(RuleSet(RULES)), ManifestContents(metadata, store, memory)
        manifests = ManifestService(metadata, contents, upstreams)
        blobs = BlobService(metadata, store, fills, upstreams, memory)
        stores = (metadata, store, MemoryUploadStore(store, clock.now))
        services = Services(
            rules=rules,
            manifests=manifests,
            blobs=blobs,
            listings=ListingService(metadata, upstreams),
            metrics=metrics,
            server=ServerSettings(port=0),
            ready=lambda: health.ready,
            pulls=pulls,
            **writing(rules, (manifests, blobs), contents, stores, clock, metrics),
        )
        yield Stack(services, store, upstream, fills, clock, health, pulls)


@pytest.fixture
async def client(stack: Stack, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_application(stack.services, mirror=None))
