"""The services of core over stores and upstreams in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from proxy.config.addresses import parse_upstream
from proxy.config.settings import UploadSettings
from proxy.core.blobs import BlobService
from proxy.core.contents import ManifestContents
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.rules import Address, Resolution, RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.reference import parse_repository
from proxy.model.rule import CacheRule
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.uploads.memory import MemoryUploadStore
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.fake_upstream import FakeUpstream, UpstreamRepository
from tests.support.filling_metadata import FillingMetadata
from tests.support.memory_fills import MemoryFills
from tests.support.writing import writing

RULE = CacheRule("quay", parse_upstream("quay.io"), stale_after=timedelta(seconds=30))
ACCOUNT = UserPassword("robot", SecretSource(env="QUAY_PASSWORD"))
SOURCE = "quay.io/app/web"


@dataclass
class Bench:
    """The services of one server process, what stands behind them, and the rules in force."""

    upstream: FakeUpstream
    clock: FakeClock
    tasks: Tasks
    rules: tuple[CacheRule, ...] = (RULE,)
    policy: Policy = field(default_factory=Policy)
    metadata: FillingMetadata = field(default_factory=FillingMetadata)
    store: MemoryBlobStore = field(default_factory=MemoryBlobStore)
    metrics: Metrics = field(default_factory=Metrics)
    settings: UploadSettings = field(default_factory=UploadSettings)
    min_free: int = 0
    sparse: bool = False

    def __post_init__(self) -> None:
        self.sessions = MemoryUploadStore(self.store, self.clock.now)
        self.begin()

    def begin(self) -> None:
        """Begin with fills into the store."""
        self.fills = MemoryFills(self.store)
        self.start()

    def start(self) -> None:
        """Begin a process over the same stores: whatever was in memory is gone."""
        self.upstreams = upstreams = Upstreams(
            self.upstream, self.tasks, self.clock, self.policy, self.metrics, Offloader()
        )
        memory = ContentMemory(64 << 20, self.metrics)
        self.contents = ManifestContents(self.metadata, self.store, memory)
        self.manifests = ManifestService(self.metadata, self.contents, upstreams)
        self.blobs = BlobService(self.metadata, self.store, self.fills, upstreams, memory)
        self.listings = ListingService(self.metadata, upstreams)
        self.book = RuleBook(RuleSet(self.rules))
        services = writing(
            self.book,
            (self.manifests, self.blobs),
            self.contents,
            (self.metadata, self.store, self.sessions),
            self.clock,
            self.metrics,
            ecr=self.policy.ecr,
            min_free=self.min_free,
            sparse=self.sparse,
            settings=self.settings,
        )
        self.repositories, self.uploads = services["repositories"], services["uploads"]
        self.pushes, self.deletions = services["pushes"], services["deletions"]

    def with_rule(self, **changes: Any) -> CacheRule:  # noqa: ANN401 - fields by name
        """Change the first rule, as a reload does."""
        self.rules = (replace(self.rules[0], **changes), *self.rules[1:])
        self.book.replace(RuleSet(self.rules))
        return self.rules[0]

    def with_character(self, *, ecr: bool) -> None:
        self.with_policy(identity=RegistryIdentity(ecr=ecr))

    def with_policy(self, **changes: Any) -> None:  # noqa: ANN401 - fields by name
        self.policy = replace(self.policy, **changes)
        self.start()

    def resolve(self, name: str = "quay/app/web", ns: str | None = None) -> Resolution:
        return RuleSet(self.rules).resolve(Address(parse_repository(name), ns))

    def counted(self, kind: str, outcome: str) -> float:
        """Return how many pushes of this kind came to this outcome."""
        return (
            self.metrics.registry.get_sample_value("pullthrough_pushes_total", {"kind": kind, "outcome": outcome})
            or 0.0
        )

    @property
    def web(self) -> UpstreamRepository:
        """The upstream repository behind quay/app/web."""
        return self.upstream.repository(SOURCE)


@pytest.fixture
async def bench(clock: FakeClock) -> AsyncIterator[Bench]:
    async with Tasks() as tasks:
        yield Bench(FakeUpstream(), clock, tasks)
