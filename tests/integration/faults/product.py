"""The whole product in this process: services, upstream client and the OCI surface over given stores."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import TestServer
from multidict import CIMultiDictProxy

from proxy.config.settings import FillSettings, ServerSettings, UpstreamSettings
from proxy.core.blobs import BlobService
from proxy.core.completion import Completer
from proxy.core.contents import ManifestContents
from proxy.core.fills import Fills
from proxy.core.fills.ports import PartialStore
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.ports import BlobStore, Clock
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.http.application import build_application
from proxy.http.services import Services
from proxy.model.digest import Digest
from proxy.model.rule import CacheRule
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.uploads import MemoryUploadStore
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from proxy.upstream.retries import Retries
from tests.support.writing import writing


@dataclass(frozen=True)
class Stores:
    """What outlives a product."""

    metadata: RegistryStore
    blobs: BlobStore
    partials: PartialStore

    async def wrong(self) -> list[Digest]:
        """Return the blobs whose bytes are not what their digest says."""
        return [digest async for digest, size in self.blobs.scan() if not await self._verifies(digest, size)]

    async def _verifies(self, digest: Digest, size: int) -> bool:
        reader = await self.blobs.open(digest)
        if reader is None:
            return False
        try:
            data = b""
            while part := await reader.read(len(data), size):
                data += part
        finally:
            reader.close()
        return digest == Digest.of(data, digest.algorithm)


@dataclass(frozen=True)
class Pulled:
    """What a client got. `whole`: the answer came to its proper end; `status` is 0 where not even its head came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


@dataclass(frozen=True)
class Product:
    """A running product and a client of it."""

    tasks: Tasks
    url: str
    session: aiohttp.ClientSession

    async def pull(self, path: str, method: str = "GET", *, most: int | None = None, **headers: str) -> Pulled:
        """Ask, and read to the end, or leave after `most` bytes; underscores in names of headers are hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            async with self.session.request(method, f"{self.url}{path}", headers=sent) as answer:
                return await self._read(answer, most)
        except aiohttp.ClientConnectionError:
            return Pulled(0, {}, b"", whole=False)

    @staticmethod
    async def _read(answer: aiohttp.ClientResponse, most: int | None) -> Pulled:
        body, whole = bytearray(), True
        fields: CIMultiDictProxy[str] = answer.headers
        try:
            async for chunk in answer.content.iter_any():
                body += chunk
                if most is not None and len(body) >= most:
                    answer.close()
                    return Pulled(answer.status, fields, bytes(body), whole=False)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            whole = False
        return Pulled(answer.status, fields, bytes(body), whole)


@asynccontextmanager
async def run_product(
    stores: Stores,
    rule: CacheRule,
    settings: UpstreamSettings,
    clock: Clock,
    lookup: AbstractResolver | None = None,
) -> AsyncIterator[Product]:
    """Run the product with one rule; it waits for nothing between attempts.

    Leaving ends it as a server ends: background work is cancelled, the stores stay open.
    """

    async def sleep(_: float) -> None:
        pass

    metrics = Metrics()
    retries = Retries(lambda least, _: least, sleep)
    filling = FillSettings.model_validate({"retry_delay": 0, "poll": "1ms"})
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            UpstreamClient(settings, clock, metrics, retries=retries, lookup=lookup)
        )
        tasks = await stack.enter_async_context(Tasks())
        upstreams = Upstreams(client, tasks, clock, Policy.of(settings, RegistryIdentity()), metrics, Offloader())
        memory = ContentMemory(64 << 20, metrics)
        contents = ManifestContents(stores.metadata, stores.blobs, memory)
        fills = Fills(stores.partials, stores.blobs, tasks, clock, filling, settings, 0, metrics)
        manifests = ManifestService(stores.metadata, contents, upstreams)
        blobs = BlobService(stores.metadata, stores.blobs, fills, upstreams, memory)
        rules = RuleBook(RuleSet((rule,)))
        uploads = MemoryUploadStore(MemoryBlobStore())  # nobody pushes here
        services = Services(
            rules=rules,
            manifests=manifests,
            blobs=blobs,
            listings=ListingService(stores.metadata, upstreams),
            metrics=metrics,
            server=ServerSettings(port=0),
            ready=lambda: not tasks.draining,
            pulls=Completer(stores.metadata, stores.blobs, manifests, blobs, fills, upstreams, metrics),
            **writing(rules, (manifests, blobs), contents, (stores.metadata, stores.blobs, uploads), clock, metrics),
        )
        server = await stack.enter_async_context(_server(services))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0))
        )
        yield Product(tasks, str(server.make_url("")).rstrip("/"), session)


@asynccontextmanager
async def _server(services: Services) -> AsyncIterator[TestServer]:
    server = TestServer(build_application(services, mirror=None))
    await server.start_server()
    try:
        yield server
    finally:
        await server.close()
