"""Completion: what is fetched once a layer was pulled, what is not, and who goes first."""

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import FillSettings, UpstreamSettings
from proxy.core.completion import Completer
from proxy.core.fills import Fills
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Completion, Provenance
from proxy.storage.partials.memory import MemoryPartialStore
from tests.support.background import until
from tests.support.documents import LAYER_TYPE, descriptor, image, index
from tests.support.filling_metadata import FillingMetadata
from tests.unit.core.conftest import Bench

BASE, TOP, CONFIG = b"the base layer", b"the top layer", b'{"architecture":"amd64"}'
IMAGE = image(CONFIG, BASE, TOP)
ARM = image(b'{"architecture":"arm64"}', BASE, b"the top layer for arm")
ATTESTATION = image(b'{"architecture":"unknown"}', b'{"predicate":{}}')


class CompletionBench(Bench):
    """The services with real fills, a completer, and clients who pull by them."""

    min_free = 0

    def start(self) -> None:
        super().start()
        self.real = Fills(
            MemoryPartialStore(self.store),
            self.store,
            self.tasks,
            self.clock,
            FillSettings(),
            UpstreamSettings(),
            self.min_free,
            self.metrics,
        )
        self.completer = Completer(
            self.metadata, self.store, self.manifests, self.blobs, self.real, self.upstreams, self.metrics
        )

    def put(self, *documents: bytes, name: str = "latest") -> None:
        """Let upstream hold `documents` (indexes among them) and all layers; the last one is tagged."""
        for raw in documents:
            tags = [name] if raw is documents[-1] else []
            self.web.put(raw, *tags, **({"media_type": OCI_INDEX} if b'"manifests"' in raw else {}))
        for content in (BASE, TOP, CONFIG, *(b'{"architecture":"%s"}' % a for a in (b"arm64", b"unknown"))):
            self.web.put_blob(content)
        self.web.put_blob(b"the top layer for arm")
        self.web.put_blob(b'{"predicate":{}}')

    async def serve(self, reference: Tag | Digest, resolution: Resolution | None = None) -> None:
        resolution = resolution or self.resolve()
        answer = await self.manifests.get(resolution, reference)
        self.completer.manifest_pulled(resolution, answer.digest)

    async def pull(self, content: bytes, resolution: Resolution | None = None) -> None:
        """Pull a blob whole, and wait until nothing more is completed."""
        resolution = resolution or self.resolve()
        source = await self.blobs.open(resolution, Digest.of(content))
        self.completer.blob_pulled(resolution, Digest.of(content))
        assert b"".join([data async for data in source.stream(0, source.total)]) == content
        source.close()
        await self.quiet()

    async def quiet(self) -> None:
        await until(lambda: not self.completer._waiting)  # noqa: SLF001 - nobody else waits for its end

    async def stored(self, *contents: bytes) -> list[bool]:
        return [await self.store.stat(Digest.of(content)) is not None for content in contents]

    def outcomes(self) -> dict[str, float]:
        names = ("completed", "unneeded", "failed", "no_room", "dropped", "stopped")
        value = self.metrics.registry.get_sample_value
        found = {name: value("pullthrough_completions_total", {"rule": "quay", "outcome": name}) or 0 for name in names}
        return {name: number for name, number in found.items() if number}


@pytest.fixture
def bench(bench: Bench) -> CompletionBench:
    return CompletionBench(bench.upstream, bench.clock, bench.tasks)


async def test_a_pulled_layer_brings_the_rest_of_its_image(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    assert await bench.stored(CONFIG, TOP) == [True, True]
    assert bench.outcomes() == {"completed": 1}
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)  # proven too: it can be served without its upstream
    bench.start()
    for content in (CONFIG, BASE, TOP):
        await bench.pull(content)


async def test_an_image_is_completed_once_for_all_its_layers(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    for content in (BASE, TOP, BASE):
        await bench.pull(content)
    assert bench.outcomes() == {"completed": 1}


class NotingMetadata(FillingMetadata):
    """Metadata that note of which blobs they were asked who names them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Digest] = []

    async def manifests_naming(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> list[Digest]:
        self.asked.append(digest)
        return await super().manifests_naming(repository, digest, provenance)


async def test_who_names_a_blob_is_asked_once_an_image(bench: CompletionBench) -> None:
    metadata = bench.metadata = NotingMetadata()
    bench.start()
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    for content in (CONFIG, BASE, TOP):
        await bench.pull(content)
    assert metadata.asked == [Digest.of(CONFIG)]
    assert bench.outcomes() == {"completed": 1}


async def test_who_names_a_blob_is_not_asked_again_because_the_same_image_was_served_again(
    bench: CompletionBench,
) -> None:
    metadata = bench.metadata = NotingMetadata()
    bench.start()
    bench.put(IMAGE)
    for content in (CONFIG, BASE, TOP):
        await bench.serve(Tag("latest"))
        await bench.pull(content)
    assert metadata.asked == [Digest.of(CONFIG)]
    assert bench.outcomes() == {"completed": 1}


async def test_who_names_a_blob_is_asked_again_once_another_image_was_served(bench: CompletionBench) -> None:
    metadata = bench.metadata = NotingMetadata()
    bench.start()
    bench.put(ARM)
    bench.put(IMAGE, name="other")
    await bench.serve(Digest.of(ARM))
    await bench.pull(b'{"architecture":"arm64"}')
    await bench.serve(Tag("other"))
    await bench.pull(BASE)
    assert metadata.asked == [Digest.of(b'{"architecture":"arm64"}'), Digest.of(BASE)]
    assert await bench.stored(TOP, b"the top layer for arm") == [True, False]


async def test_an_image_that_is_whole_needs_nothing(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    requests = len(bench.upstream.requests)
    bench.start()
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    assert bench.outcomes() == {"completed": 1, "unneeded": 1}
    assert len(bench.upstream.requests) == requests


async def test_a_config_brings_nothing_since_lazy_pullers_and_lookers_read_it_whole(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.pull(CONFIG)
    assert await bench.stored(BASE, TOP) == [False, False]
    await bench.pull(BASE)  # and does not stand in the way of what follows
    assert await bench.stored(TOP) == [True]


async def test_a_rule_that_says_none_completes_nothing(bench: CompletionBench) -> None:
    bench.with_rule(complete=Completion.NONE)
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    assert await bench.stored(CONFIG, TOP) == [False, False]
    assert bench.outcomes() == {}


async def test_of_images_with_one_base_the_one_that_was_pulled_is_completed(bench: CompletionBench) -> None:
    bench.put(ARM, name="arm")
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.serve(Tag("arm"))
    await bench.pull(BASE)
    assert await bench.stored(TOP, b"the top layer for arm") == [False, True]


async def test_of_images_that_nobody_pulled_since_the_start_none_is_guessed(bench: CompletionBench) -> None:
    bench.put(ARM, name="arm")
    bench.put(IMAGE)
    for tag in ("arm", "latest"):
        await bench.serve(Tag(tag))
    bench.start()
    await bench.pull(BASE)
    assert await bench.stored(TOP, b"the top layer for arm") == [False, False]
    await bench.pull(TOP)  # named by one only
    assert await bench.stored(TOP, CONFIG) == [True, True]


async def test_a_blob_that_no_manifest_names_brings_nothing(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.pull(BASE)
    assert bench.outcomes() == {}


class TestPlatformAndIndex:
    INDEX = index(IMAGE, ARM, ATTESTATION)

    @pytest.fixture(autouse=True)
    def upstream(self, bench: CompletionBench) -> None:
        bench.put(IMAGE, ARM, ATTESTATION, self.INDEX)

    async def test_platform_leaves_the_siblings_alone(self, bench: CompletionBench) -> None:
        await bench.serve(Tag("latest"))
        await bench.serve(Digest.of(IMAGE))
        await bench.pull(BASE)
        assert await bench.stored(CONFIG, TOP) == [True, True]
        assert await bench.stored(ARM, ATTESTATION, b"the top layer for arm") == [False, False, False]

    async def test_index_brings_siblings_and_attestations_with_their_blobs(self, bench: CompletionBench) -> None:
        bench.with_rule(complete=Completion.INDEX)
        await bench.serve(Tag("latest"))
        await bench.serve(Digest.of(IMAGE))
        await bench.pull(BASE)
        assert await bench.stored(CONFIG, TOP, ARM, ATTESTATION) == [True] * 4
        assert await bench.stored(b"the top layer for arm", b'{"predicate":{}}') == [True, True]
        assert bench.outcomes() == {"completed": 1}

    async def test_indexes_inside_of_indexes_are_followed_so_far(self, bench: CompletionBench) -> None:
        bench.with_rule(complete=Completion.INDEX)
        layers = [b"layer %d" % depth for depth in range(6)]
        entries: list[dict[str, object]] = []
        for layer in reversed(layers):
            below = image(CONFIG, layer)
            inner = index(manifests=[descriptor(below, OCI_MANIFEST), *entries])
            entries = [descriptor(inner, OCI_INDEX)]
            bench.web.put_blob(layer)
            bench.put(below, inner)
        bench.put(index(manifests=[descriptor(IMAGE, OCI_MANIFEST), *entries]))
        await bench.serve(Tag("latest"))
        await bench.serve(Digest.of(IMAGE))
        await bench.pull(BASE)
        assert await bench.stored(*layers) == [True] * 2 + [False] * 4


async def test_layers_that_are_elsewhere_are_left_there(bench: CompletionBench) -> None:
    foreign = descriptor(b"windows", LAYER_TYPE, urls=["https://elsewhere.example/layer"])
    raw = image(CONFIG, BASE, layers=[descriptor(BASE), foreign])
    bench.put(raw)
    bench.web.put_blob(b"windows")
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    assert await bench.stored(CONFIG, b"windows") == [True, False]
    assert bench.outcomes() == {"completed": 1}


async def test_stored_content_of_others_is_shown_to_be_the_repositorys(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    bench.store.keep(Digest.of(TOP), TOP)
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    assert f"HEAD blob quay.io/app/web {Digest.of(TOP)}" in bench.upstream.journal
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    await bench.pull(TOP)


async def test_a_full_disk_completes_nothing_and_passes_nothing_through(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    bench.store.keep(Digest.of(BASE), BASE)
    bench.store.capacity = 0
    requests = len(bench.upstream.requests)
    await bench.pull(BASE)
    assert bench.outcomes() == {"no_room": 1}
    assert not [one for one in bench.upstream.requests[requests:] if one.method == "GET blob"]


async def test_a_failure_is_told_once_and_forgotten(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    del bench.web.blobs[Digest.of(TOP)]
    await bench.serve(Tag("latest"))
    with capture_logs() as logs:
        for content in (BASE, CONFIG, BASE):
            await bench.pull(content)
    assert [line["log_level"] for line in logs if line["event"] == "completion.failed"] == ["warning"]
    assert bench.outcomes() == {"failed": 1}
    bench.put(IMAGE)
    bench.clock.advance(601)
    await bench.pull(BASE)
    assert await bench.stored(TOP) == [True]


@pytest.mark.parametrize("where", ["rule", "server"])
async def test_offline_completes_nothing(bench: CompletionBench, where: str) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    await bench.store.delete(Digest.of(TOP))
    if where == "rule":
        bench.with_rule(offline=True)
        bench.start()
    else:
        bench.with_policy(offline=True)
    requests = len(bench.upstream.requests)
    await bench.serve(Tag("latest"))
    await bench.pull(BASE)
    assert len(bench.upstream.requests) == requests


async def test_hosted_repositories_have_nothing_to_complete(bench: CompletionBench) -> None:
    hosted = Resolution(bench.resolve().repository, None, "hosted")
    bench.completer.manifest_pulled(hosted, Digest.of(IMAGE))
    bench.completer.blob_pulled(hosted, Digest.of(BASE))
    assert bench.completer._waiting == {}  # noqa: SLF001 - nothing was begun


async def test_a_draining_server_begins_nothing(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    await bench.pull(CONFIG)
    bench.tasks.draining = True
    bench.completer.blob_pulled(bench.resolve(), Digest.of(BASE))
    await bench.quiet()
    assert await bench.stored(BASE, TOP) == [False, False]


async def test_what_is_under_way_stops_when_the_server_drains(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    bench.upstream.open_gate.clear()
    bench.completer.blob_pulled(bench.resolve(), Digest.of(BASE))
    await until(lambda: any(one.method == "GET blob" for one in bench.upstream.requests))
    bench.tasks.draining = True
    bench.upstream.open_gate.set()
    await bench.quiet()
    assert await bench.stored(TOP) == [False]
    assert bench.outcomes() == {"stopped": 1}


async def test_many_pulls_wait_in_a_bounded_queue(bench: CompletionBench) -> None:
    bench.put(IMAGE)
    await bench.serve(Tag("latest"))
    bench.upstream.open_gate.clear()
    for number in range(300):
        bench.completer.blob_pulled(bench.resolve(), Digest.of(b"%d" % number))
    assert bench.outcomes() == {"dropped": 300 - 256}
    bench.upstream.open_gate.set()
    await bench.quiet()


async def test_one_transfer_at_a_time_for_a_rule(bench: CompletionBench) -> None:
    layers = [b"layer %d" % number for number in range(6)]
    raw, other = image(CONFIG, BASE, *layers[:3]), image(b'{"architecture":"arm64"}', TOP, *layers[3:])
    bench.put(raw, name="one")
    bench.put(other, name="two")
    for layer in layers:
        bench.web.put_blob(layer)
    await bench.serve(Tag("one"))
    await bench.serve(Tag("two"))
    bench.upstream.open_gate.clear()
    bench.upstream.requests.clear()
    for content in (BASE, TOP):
        bench.completer.blob_pulled(bench.resolve(), Digest.of(content))
    await until(lambda: bench.upstream.requests)
    assert [one.method for one in bench.upstream.requests] == ["GET blob"]
    bench.upstream.open_gate.set()
    await bench.quiet()
    assert all(await bench.stored(*layers))
    assert bench.outcomes() == {"completed": 2}
