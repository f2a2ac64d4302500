"""The whole product in one process, over emulated registries: its services, its upstream client, its listeners."""

import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.config.settings import FillSettings, MirrorSettings, ServerSettings, UpstreamSettings
from proxy.core.blobs import BlobService
from proxy.core.completion import Completer
from proxy.core.contents import ManifestContents
from proxy.core.fills import Fills
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.http.server import Server
from proxy.http.services import Services
from proxy.model.digest import Digest
from proxy.model.rule import CacheRule
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.partials.memory import MemoryPartialStore
from proxy.storage.uploads import MemoryUploadStore
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from proxy.upstream.retries import Retries
from tests.support.clock import FakeClock
from tests.support.writing import writing

Access = Callable[[RuleBook, MemoryMetadataStore, FakeClock], Mapping[str, Any]]
"""Returns the fields of `Services` that say who may do what."""

Headers = CIMultiDict[str] | CIMultiDictProxy[str]


@dataclass(frozen=True)
class Answered:
    """What a client got, read to its end. `whole`: the body was as long as the headers announced."""

    status: int
    headers: Headers
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the code of an error document."""
        code: str = self.json["errors"][0]["code"]
        return code

    @property
    def message(self) -> str:
        """Return the sentence of an error document."""
        message: str = self.json["errors"][0]["message"]
        return message

    @property
    def digest(self) -> Digest:
        return Digest.parse(self.headers["Docker-Content-Digest"])

    @property
    def cache(self) -> str:
        return self.headers["Cache-Status"]


@dataclass
class Registry:
    """One address of the product, and the journal of all that it answered there.

    It adds no header of its own and follows nothing: clients are scripts that say themselves what they send.
    """

    base: str
    session: aiohttp.ClientSession
    answers: list[Answered] = field(default_factory=list)

    @asynccontextmanager
    async def open(
        self, path: str, *lines: tuple[str, str], method: str = "GET", content: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request with these header lines and yield the answer before its body is read."""
        url = URL(self.base + path, encoded=True)
        data = io.BytesIO(content) if content is not None else None
        async with self.session.request(
            method, url, headers=CIMultiDict(lines), data=data, allow_redirects=False
        ) as response:
            yield response

    async def ask(
        self, path: str, *lines: tuple[str, str], method: str = "GET", content: bytes | None = None
    ) -> Answered:
        """Send a request and read its answer to the end, be it too early."""
        async with self.open(path, *lines, method=method, content=content) as response:
            received = bytearray()
            whole = True
            try:
                async for chunk in response.content.iter_any():
                    received += chunk
            except aiohttp.ClientError:
                whole = False
            answered = Answered(response.status, response.headers.copy(), bytes(received), whole)
        self.answers.append(answered)
        return answered

    async def head(self, path: str, *lines: tuple[str, str]) -> Answered:
        return await self.ask(path, *lines, method="HEAD")


@dataclass
class Stores:
    """What outlives a product."""

    metadata: MemoryMetadataStore = field(default_factory=MemoryMetadataStore)
    blobs: MemoryBlobStore = field(default_factory=MemoryBlobStore)
    uploads: MemoryUploadStore = field(init=False)

    def __post_init__(self) -> None:
        self.uploads = MemoryUploadStore(self.blobs)


@dataclass
class Product:
    """The running product. `registry` is its main listener; `mirror(prefix)` that of one rule."""

    server: Server
    session: aiohttp.ClientSession
    clock: FakeClock
    stores: Stores
    tasks: Tasks
    rules: RuleBook
    registry: Registry = field(init=False)

    def __post_init__(self) -> None:
        self.registry = Registry(_origin(self.server.address), self.session)

    def mirror(self, prefix: str) -> Registry:
        # One journal for all listeners.
        return Registry(_origin(self.server.mirror_addresses[prefix]), self.session, self.registry.answers)

    async def settle(self) -> None:
        """Wait until nothing goes on in the background."""
        await self.tasks.drain(60)
        self.tasks.draining = False


@asynccontextmanager
async def run_product(
    rules: Iterable[CacheRule],
    upstreams: UpstreamSettings,
    clock: FakeClock,
    *,
    lookup: AbstractResolver | None = None,
    stores: Stores | None = None,
    access: Access | None = None,
) -> AsyncIterator[Product]:
    """Run the product on free ports over stores in memory (new ones), with a mirror listener for each rule.

    Everyone may do everything, unless `access` says otherwise. Pauses of its own (pacing, retries) take no time: they
    move the clock.
    """

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    known, metrics = tuple(rules), Metrics()
    kept = stores or Stores()
    metadata, store = kept.metadata, kept.blobs
    retries = Retries(lambda _, ceiling: ceiling, sleep)
    filling = FillSettings(retry_delay=timedelta(0))
    async with (
        UpstreamClient(upstreams, clock, metrics, retries=retries, lookup=lookup, sleep=sleep) as client,
        Tasks() as tasks,
        plain_session() as session,
    ):
        asking = Upstreams(client, tasks, clock, Policy.of(upstreams, RegistryIdentity()), metrics, Offloader())
        memory = ContentMemory(64 << 20, metrics)
        contents = ManifestContents(metadata, store, memory)
        fills = Fills(MemoryPartialStore(store), store, tasks, clock, filling, upstreams, 0, metrics)
        manifests = ManifestService(metadata, contents, asking)
        blobs = BlobService(metadata, store, fills, asking, memory)
        book = RuleBook(RuleSet(known))
        services = Services(
            rules=book,
            manifests=manifests,
            blobs=blobs,
            pulls=Completer(metadata, store, manifests, blobs, fills, asking, metrics),
            listings=ListingService(metadata, asking),
            metrics=metrics,
            server=ServerSettings(port=0, drain_timeout=timedelta(0)),
            ready=lambda: True,
            **writing(book, (manifests, blobs), contents, (metadata, store, kept.uploads), clock, metrics),
            **(access(book, metadata, clock) if access is not None else {}),
        )
        mirrors = [MirrorSettings(port=0, rule=rule.prefix) for rule in known]
        async with Server(services, mirrors) as server:
            yield Product(server, session, clock, kept, tasks, book)


def plain_session() -> aiohttp.ClientSession:
    """Return a session that adds no header, decodes nothing and keeps no cookie."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _origin(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"
