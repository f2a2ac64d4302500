"""Blobs through the real fills: how often the upstream is asked, and whose proof lets a client read."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.config.addresses import parse_upstream
from proxy.config.settings import FillSettings, UpstreamSettings
from proxy.core.blobs import BlobService
from proxy.core.contents import ManifestContents
from proxy.core.fills import Fills
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.rules import Address, Resolution, RuleSet
from proxy.core.sources import TransferError
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.partials.memory import MemoryPartialStore
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.documents import image
from tests.support.fake_upstream import FakeUpstream

LAYER = bytes(range(256)) * 8192
DIGEST = Digest.of(LAYER)
ACCOUNT = UserPassword("robot", SecretSource(env="QUAY_PASSWORD"))
PRIVATE = CacheRule("private", parse_upstream("quay.io"), credentials=ACCOUNT, ns=True)
OPEN = CacheRule("open", parse_upstream("quay.io"))
RULES = RuleSet([PRIVATE, OPEN])


class Process:
    """The services of one server process over shared stores."""

    def __init__(self, tasks: Tasks, clock: FakeClock) -> None:
        self.upstream = FakeUpstream()
        self.web = self.upstream.repository("quay.io/app/web")
        self.metadata, self.store, metrics = MemoryMetadataStore(), MemoryBlobStore(), Metrics()
        upstreams = Upstreams(self.upstream, tasks, clock, Policy(), metrics, Offloader())
        fills = Fills(
            MemoryPartialStore(self.store),
            self.store,
            tasks,
            clock,
            FillSettings(),
            UpstreamSettings(),
            0,
            metrics,
        )
        memory = ContentMemory(1 << 20, metrics)
        self.blobs = BlobService(self.metadata, self.store, fills, upstreams, memory)
        contents = ManifestContents(self.metadata, self.store, memory)
        self.manifests = ManifestService(self.metadata, contents, upstreams)

    async def pull(self, name: str) -> bytes:
        source = await self.blobs.open(resolve(name), DIGEST)
        try:
            return b"".join([data async for data in source.stream(0, source.total)])
        finally:
            source.close()

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.upstream.requests]


def resolve(name: str) -> Resolution:
    return RULES.resolve(Address(RepositoryName(name)))


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as owned:
        yield owned


@pytest.fixture
def process(tasks: Tasks, clock: FakeClock) -> Process:
    return Process(tasks, clock)


@pytest.mark.parametrize("described", [False, True])
async def test_fifty_cold_clients_cost_one_get(process: Process, *, described: bool) -> None:
    process.web.put_blob(LAYER)
    process.web.put(image(b"{}", LAYER), "latest")
    if described:
        await process.manifests.get(resolve("open/app/web"), Tag("latest"))
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(process.pull("open/app/web")) for _ in range(50)]
    assert {pull.result() for pull in pulls} == {LAYER}
    assert process.methods == ["GET"] * described + ["GET blob"]


async def test_blob_is_served_without_its_upstream_after_the_first_client_left(process: Process, tasks: Tasks) -> None:
    process.web.put_blob(LAYER)
    source = await process.blobs.open(resolve("open/app/web"), DIGEST)
    source.close()
    await tasks.drain(30)
    process.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert await process.pull("open/app/web") == LAYER
    assert process.methods == ["GET blob"]


async def test_stranger_cannot_join_the_fill_of_a_private_layer(process: Process) -> None:
    process.web.put_blob(LAYER)
    process.web.accounts = frozenset({ACCOUNT.identity})
    process.upstream.repository("quay.io/evil/web").put(image(b"{}", LAYER), "latest")
    await process.manifests.get(resolve("open/evil/web"), Tag("latest"))
    process.upstream.requests.clear()
    source = await process.blobs.open(resolve("private/app/web"), DIGEST)
    for name in ("open/app/web", "open/evil/web"):
        with pytest.raises(ProxyError) as raised:
            await process.pull(name)
        assert raised.value.code in {ErrorCode.NAME_UNKNOWN, ErrorCode.BLOB_UNKNOWN}
    content = b"".join([data async for data in source.stream(0, source.total)])
    source.close()
    assert content == LAYER
    with pytest.raises(ProxyError):
        await process.pull("open/app/web")


async def test_full_disk_passes_the_blob_through_and_asks_for_no_proof(process: Process) -> None:
    process.web.put_blob(LAYER)
    process.store.capacity = 1000
    assert [await process.pull("open/app/web") for _ in range(2)] == [LAYER, LAYER]
    assert set(process.methods) == {"GET blob"}


async def test_upstream_without_the_blob_is_404_and_asked_once(process: Process) -> None:
    for _ in range(3):
        with pytest.raises(ProxyError) as raised:
            await process.pull("open/app/web")
        assert raised.value.code is ErrorCode.BLOB_UNKNOWN
    assert process.methods == ["GET blob"]


async def test_wrong_bytes_reach_no_client_and_no_store(process: Process) -> None:
    process.web.blobs[DIGEST] = LAYER[:-1] + b"!"
    source = await process.blobs.open(resolve("open/app/web"), DIGEST)
    received = bytearray()

    async def receive() -> None:
        async for data in source.stream(0, source.total):
            received.extend(data)

    with pytest.raises(TransferError):
        await receive()
    source.close()
    assert len(received) < len(LAYER)
    assert await process.store.stat(DIGEST) is None
