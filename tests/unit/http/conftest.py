"""The whole product behind the surfaces, over stores and an upstream in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from pytest_aiohttp.plugin import AiohttpClient

from proxy.config.settings import FillSettings, ServerSettings, UpstreamSettings, parse_upstream
from proxy.core.blobs import BlobService
from proxy.core.contents import ManifestContents
from proxy.core.fills import Fills
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.policy import Policy
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tags import EveryTagMoves
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.http.application import build_application
from proxy.http.services import Services
from proxy.model.rule import CacheRule
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.partials.memory import MemoryPartialStore
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.unit.http.filler import CountedFills
from tests.unit.http.upstream import MemoryUpstream

Client = TestClient[Request, Application]

RULES = (
    CacheRule("docker-hub", parse_upstream("registry-1.docker.io")),
    CacheRule("quay", parse_upstream("quay.io")),
)


@dataclass
class Health:
    """What the server is asked for by ``/readyz``."""

    ready: bool = True


@dataclass
class Stack:
    services: Services
    upstream: MemoryUpstream
    fills: CountedFills
    clock: FakeClock
    health: Health = field(default_factory=Health)

    def serving(self, server: ServerSettings) -> Services:
        return replace(self.services, server=server)


@pytest.fixture
async def stack(clock: FakeClock) -> AsyncIterator[Stack]:
    upstream, metrics, health = MemoryUpstream(), Metrics(), Health()
    metadata, store = MemoryMetadataStore(), MemoryBlobStore()
    async with Tasks() as tasks:
        upstreams = Upstreams(upstream, tasks, clock, Policy(), metrics)
        partials, filling, asking = MemoryPartialStore(store), FillSettings(), UpstreamSettings()
        fills = CountedFills(Fills(partials, store, tasks, clock, filling, asking, 0, metrics))
        services = Services(
            rules=RuleBook(RuleSet(RULES)),
            manifests=ManifestService(metadata, ManifestContents(metadata, store), upstreams, EveryTagMoves()),
            blobs=BlobService(metadata, store, fills, upstreams),
            listings=ListingService(metadata, upstreams),
            metrics=metrics,
            server=ServerSettings(port=0),
            ready=lambda: health.ready,
        )
        yield Stack(services, upstream, fills, clock, health)


@pytest.fixture
async def client(stack: Stack, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_application(stack.services, mirror=None))
