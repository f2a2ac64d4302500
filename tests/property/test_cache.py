"""A cache over an upstream that moves, loses and refuses tags: what clients may rely on, whatever happens."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from proxy.config.addresses import parse_upstream
from proxy.core.contents import ManifestContents
from proxy.core.manifests import ManifestAnswer, ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.rules import Address, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError, UpstreamFailure
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule, OnUpstream404
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.documents import image
from tests.support.fake_upstream import FakeUpstream

T = TypeVar("T")

TAGS = [Tag("latest"), Tag("v1")]
IMAGES = [image(f'{{"image":{number}}}'.encode()) for number in range(3)]
TTL = 300

tags = st.sampled_from(TAGS)
images = st.sampled_from(IMAGES)


class Cache(RuleBasedStateMachine):
    """One repository of one rule; the model knows what each tag ever was upstream, and what was served."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.upstream, self.clock, self.tasks = FakeUpstream(), FakeClock(), Tasks()
        self.metadata, self.store = MemoryMetadataStore(), MemoryBlobStore()
        self.web = self.upstream.repository("quay.io/app")
        self.ever: dict[Tag, set[Digest]] = {tag: set() for tag in TAGS}
        self.served: set[Digest] = set()
        self.certain: dict[Tag, tuple[Digest, float]] = {}
        self.failing = False

    @initialize(on_404=st.sampled_from(list(OnUpstream404)))
    def start(self, on_404: OnUpstream404) -> None:
        upstream = parse_upstream("quay.io")
        self.rule = CacheRule("quay", upstream, stale_after=timedelta(seconds=60), on_upstream_404=on_404)
        self.run(self.tasks.__aenter__())
        self.begin()

    def begin(self) -> None:
        metrics = Metrics()
        upstreams = Upstreams(self.upstream, self.tasks, self.clock, Policy(), metrics, Offloader())
        contents = ManifestContents(self.metadata, self.store, ContentMemory(64 << 20, metrics))
        self.service = ManifestService(self.metadata, contents, upstreams)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.tasks.__aexit__(None, None, None))
        self.runner.close()

    # --- the world ---

    @rule(tag=tags, raw=images)
    def push_upstream(self, tag: Tag, raw: bytes) -> None:
        self.ever[tag].add(self.web.put(raw, tag))

    @rule(tag=tags)
    def delete_upstream(self, tag: Tag) -> None:
        self.web.tags.pop(tag, None)

    @rule(failure=st.sampled_from(sorted(UpstreamFailure)), method=st.sampled_from(["HEAD", "GET", "*"]))
    def fail(self, failure: UpstreamFailure, method: str) -> None:
        self.upstream.fail(failure, method)
        self.failing = True

    @precondition(lambda self: self.failing)
    @rule()
    def recover(self) -> None:
        self.upstream.recover()
        self.failing = False

    @rule(seconds=st.sampled_from([1, 59, 80, TTL - 1, TTL, 3600]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.begin()

    @rule(raw=images)
    def lose_file(self, raw: bytes) -> None:
        self.run(self.store.delete(Digest.of(raw)))
        self.begin()
        self.served.discard(Digest.of(raw))

    @rule(offline=st.booleans())
    def reload(self, *, offline: bool) -> None:
        self.rule = replace(self.rule, offline=offline)

    # --- clients ---

    def ask(self, method: str, reference: Tag | Digest) -> ManifestAnswer | None:
        resolution = RuleSet([self.rule]).resolve(Address(RepositoryName("quay/app")))
        before = len(self.upstream.requests)
        answer, status = None, 404
        try:
            answer = self.run(getattr(self.service, method)(resolution, reference))
        except ProxyError as error:
            status = error.code.status
        assert status in {403, 404, 429, 502, 504}
        asked = len(self.upstream.requests) - before
        assert asked <= 3
        if self.rule.offline:
            assert asked == 0
        if answer is not None and answer.raw is not None:
            assert Digest.of(answer.raw) == answer.digest
            assert len(answer.raw) == answer.size
            assert (answer.warning is None) == (answer.status.stale is None)
        return answer

    @rule(tag=tags, method=st.sampled_from(["get", "head", "refresh"]))
    def pull_tag(self, tag: Tag, method: str) -> None:
        before = len(self.upstream.requests)
        answer = self.ask(method, tag)
        if answer is not None:
            assert answer.digest in self.ever[tag]
        digest, since = self.certain.get(tag, (None, 0.0))
        fresh = digest is not None and self.clock.now() - since < TTL
        if fresh and method != "refresh" and digest in self.served:
            assert answer is not None
            assert (answer.digest, len(self.upstream.requests)) == (digest, before)
        if answer is None or answer.status.stale is not None:
            self.certain.pop(tag, None)
        elif method != "head" and any(request.subject == tag for request in self.upstream.requests[before:]):
            assert answer.digest == self.web.tags.get(tag)
            self.certain[tag] = (answer.digest, self.clock.now())
        if answer is not None and answer.raw is not None:
            self.served.add(answer.digest)

    @rule(raw=images)
    def pull_digest(self, raw: bytes) -> None:
        digest = Digest.of(raw)
        before = len(self.upstream.requests)
        answer = self.ask("get", digest)
        if digest in self.served:
            assert answer is not None
            assert (answer.raw, len(self.upstream.requests)) == (raw, before)
        if answer is not None:
            assert digest in self.web.manifests
            self.served.add(digest)


Cache.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


TestCache = Cache.TestCase
