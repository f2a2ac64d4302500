"""Ten thousand requests of many clients, while upstream does everything wrong: nothing is left behind.

The numbers are chosen so that the run is bounded by work, not by waiting: blobs are small, no fault takes time, and
the injected clock moves a second with every request, so that tags, lists, tokens and refusals age all the while.
"""

import asyncio
import gc
import json
import logging
import random
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from proxy.core.fills.fill import Fill
from proxy.core.fills.tail import TailSource
from proxy.storage.blobs import FilesystemBlobStore
from proxy.storage.layout import Layout
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.partials import FilesystemPartialStore
from proxy.storage.threads import Threads
from proxy.upstream.answers import Answer
from proxy.upstream.blobs import ReceivedBlob
from tests.emulators import Manifest, Quay, Repository, run
from tests.emulators import faults as fault
from tests.emulators.content import SBOM, Blob, Generated, artifact, image
from tests.emulators.faults import Answer as Answering
from tests.emulators.messages import Reply, Request
from tests.integration.faults.product import Product, Pulled, Stores, run_product
from tests.support.clock import FakeClock

REQUESTS = 10_000
WARM = 2_000
CLIENTS = 16
FAULTY = 0.06
REPOSITORIES = 200

_PER_REQUEST = 4 << 10
"""Bytes that a request may leave behind: a leak of bodies would leave 30 KiB of each, what is meant to be kept does not
reach it (tags and manifests in memory, refusals, tokens: all bounded, and most of them full when `WARM` is over)."""

_OWN_TYPES = (Fill, TailSource, ReceivedBlob, Answer, asyncio.Task)


@dataclass(frozen=True)
class Sample:
    """A repository of the soak: one image of three layers under one tag, and one referrer of it."""

    name: str
    image: Manifest
    layers: tuple[Blob, ...]
    referrer: Manifest
    tags: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/v2/quay/{self.name}"


def sample(number: int, draw: random.Random) -> tuple[Sample, Repository]:
    repository = Repository()
    sizes = [draw.choice((0, 1, 700, 9_000, 40_000, 120_000)) for _ in range(3)]
    layers = tuple(Generated(f"{number}/{place}", size) for place, size in enumerate(sizes))
    made = repository.put(image(repository, *layers), "latest", "1.0")
    referrer = repository.put(artifact(repository, f"SBOM {number}".encode(), SBOM, made))
    return Sample(f"team{number % 7}/app{number}", made, layers, referrer, ("1.0", "latest")), repository


class Chaos:
    """A fault for one request in some: drawn from a seed, and none that says what is not so but could be.

    (A registry that answers 404 to a question for referrers says that it has no such API: that is believed.)
    """

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - the same in every run
        self.counts: Counter[str] = Counter()

    def __call__(self, request: Request, answer: Answering) -> Reply:
        if self._draw.random() >= FAULTY:
            return answer(request)
        size = answer(request).body.size
        name, made = self._draw.choice(
            [
                ("500", fault.status(500)),
                ("503", fault.status(503, Retry_After="1")),
                ("429", fault.limited(429, self._draw.choice(sorted(fault.RETRY_AFTER)))),
                ("portal", fault.html()),
                ("portal 404", fault.html(502)),
                ("dropped", fault.dropped(reset=bool(self._draw.getrandbits(1)))),
                ("truncated", fault.truncated(size // 2, reset=bool(self._draw.getrandbits(1)))),
                ("wrong bytes", fault.wrong_bytes(size // 2 if request.host != "quay.io" else 0)),
                ("too long", fault.wrong_length(+3)),
                ("too short", fault.wrong_length(-min(size, 3))),
                ("chunked", fault.chunked()),
                ("unmeasured", fault.unmeasured()),
                ("compressed", fault.having(Content_Encoding="gzip")),
                ("no digest", fault.no_digest()),
                ("another entity", fault.entity_changed()),
                ("range ignored", fault.range_ignored()),
                ("link refused" if request.host != "quay.io" else "HTTP/1.0", _refusal(request)),
            ]
        )
        self.counts[name] += 1
        return made(request, answer)


def _refusal(request: Request) -> fault.Fault:
    return fault.old_protocol() if request.host == "quay.io" else fault.status(403)


class Client:
    """One of the clients: asks at random, and judges what comes."""

    def __init__(self, product: Product, samples: list[Sample], clock: FakeClock, seed: int) -> None:
        self._product = product
        self._samples = samples
        self._clock = clock
        self._draw = random.Random(seed)  # noqa: S311 - the same in every run
        self.seen: Counter[tuple[str, int]] = Counter()

    async def ask(self) -> None:
        """Make one request of a random kind about a random repository."""
        self._clock.advance(1.0)
        kinds = [self._manifest, self._blob, self._range, self._abort, self._head, self._tags, self._referrers]
        kind = self._draw.choices(kinds, (4, 4, 2, 1, 2, 1, 1))[0]
        chosen = self._draw.choice(self._samples)
        pulled = await kind(chosen)
        told = f"{kind.__name__} {chosen.name}: {pulled.status} {pulled.body[:300]!r}"
        assert pulled.status in {0, 200, 206, 403, 404, 429, 502, 504}, told
        # Nothing is missing, and nobody is denied: an upstream that is ill says nothing about content.
        assert pulled.status not in {403, 404}, told
        assert "WWW-Authenticate" not in pulled.headers, told
        self.seen[kind.__name__, pulled.status] += 1

    async def _manifest(self, chosen: Sample) -> Pulled:
        reference = self._draw.choice(("latest", "1.0", str(chosen.image.digest)))
        plain, by_host = f"{chosen.path}/manifests/{reference}", f"/v2/{chosen.name}/manifests/{reference}?ns=quay.io"
        pulled = await self._product.pull(self._draw.choice((plain, by_host)))
        assert not _complete(pulled) or pulled.body == chosen.image.raw
        return pulled

    async def _head(self, chosen: Sample) -> Pulled:
        # How long a blob is that nobody has seen is upstream's word, which may be wrong now; see `pull_everything`.
        layer = self._draw.choice(chosen.layers)
        place = self._draw.choice(("manifests/latest", f"blobs/{layer.digest}"))
        pulled = await self._product.pull(f"{chosen.path}/{place}", "HEAD")
        if pulled.status == 200 and place == "manifests/latest":
            assert pulled.headers["Docker-Content-Digest"] == str(chosen.image.digest)
        return pulled

    async def _blob(self, chosen: Sample) -> Pulled:
        layer = self._draw.choice(chosen.layers)
        pulled = await self._product.pull(f"{chosen.path}/blobs/{layer.digest}")
        assert not _complete(pulled) or pulled.body == layer.read(0, layer.size)
        return pulled

    async def _range(self, chosen: Sample) -> Pulled:
        layer = self._draw.choice([layer for layer in chosen.layers if layer.size] or [_SOME])
        if layer is _SOME:
            return await self._blob(chosen)
        start = self._draw.randrange(layer.size)
        stop = self._draw.randint(start + 1, layer.size)
        pulled = await self._product.pull(f"{chosen.path}/blobs/{layer.digest}", Range=f"bytes={start}-{stop - 1}")
        # The digest is known with the last byte. A range that ends before it, of a blob that is just being fetched,
        # is passed on as upstream sends it.
        verified = stop == layer.size or pulled.headers.get("Cache-Status", "").startswith("pullthrough; hit")
        if _complete(pulled):
            assert pulled.status == 206
            assert len(pulled.body) == stop - start
            assert not verified or pulled.body == layer.read(start, stop)
        return pulled

    async def _abort(self, chosen: Sample) -> Pulled:
        layer = max(chosen.layers, key=lambda layer: layer.size)
        most = self._draw.randint(1, layer.size // 2 + 1)
        return await self._product.pull(f"{chosen.path}/blobs/{layer.digest}", most=most)

    async def _tags(self, chosen: Sample) -> Pulled:
        pulled = await self._product.pull(f"{chosen.path}/tags/list")
        assert not _complete(pulled) or json.loads(pulled.body)["tags"] == list(chosen.tags)
        return pulled

    async def _referrers(self, chosen: Sample) -> Pulled:
        pulled = await self._product.pull(f"{chosen.path}/referrers/{chosen.image.digest}")
        if _complete(pulled):
            named = [each["digest"] for each in json.loads(pulled.body)["manifests"]]
            assert named == [str(chosen.referrer.digest)]
        return pulled


_SOME = Generated("", 0)


def _complete(pulled: Pulled) -> bool:
    return pulled.whole and pulled.status in {200, 206}


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log errors only: to render a hundred thousand events takes longer than all the rest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@asynccontextmanager
async def filesystem_stores(layout: Layout) -> AsyncIterator[Stores]:
    threads = Threads("disk", 4)
    blobs = FilesystemBlobStore(layout, threads)
    await blobs.prepare()
    metadata = await SqlMetadataStore.open(layout.database)
    try:
        yield Stores(metadata, blobs, FilesystemPartialStore(layout, threads))
    finally:
        await metadata.close()
        threads.close()


def descriptors() -> list[str]:
    """Return what the open file descriptors of this process lead to."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # the one that the listing itself needed
            continue
    return found


def resident() -> int:
    """Return the memory of this process that is in use now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def kept_alive() -> Counter[str]:
    """Count the objects that belong to requests and are still there."""
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, _OWN_TYPES))


async def work(clients: list[Client], requests: int, quay: Quay) -> None:
    """Let the clients make so many requests together."""
    left = iter(range(requests))

    async def one(client: Client) -> None:
        for _ in left:
            await client.ask()
            quay.journal.clear()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(one(client))


@pytest.mark.no_cover  # it takes twice as long, and reaches no line that other tests do not
@pytest.mark.usefixtures("quiet")
async def test_ten_thousand_requests_leave_nothing_behind(tmp_path: Path, clock: FakeClock) -> None:
    began, alive = len(descriptors()), kept_alive()
    draw = random.Random(1)  # noqa: S311 - the same in every run
    chaos, layout = Chaos(2), Layout(tmp_path)
    made = [sample(number, draw) for number in range(REPOSITORIES)]
    samples = [each for each, _ in made]
    async with run(Quay(clock=clock)) as quay:
        quay.repositories |= {each.name: repository for each, repository in made}
        settings = quay.settings_with(min_rate=0, breaker_failures=20)
        rule = quay.rule(requests_per_second=1e6)
        async with filesystem_stores(layout) as stores:
            async with run_product(stores, rule, settings, clock) as product:
                clients = [Client(product, samples, clock, seed) for seed in range(CLIENTS)]
                quay.faults.add(chaos, times=None)
                await work(clients, WARM, quay)
                gc.collect()
                warm = resident()
                await work(clients, REQUESTS - WARM, quay)
                gc.collect()
                grown = resident() - warm
                quay.faults.clear()
                clock.advance(3600)
                await pull_everything(product, samples)
                await product.tasks.drain(30)
                named = {task.get_name() for task in asyncio.all_tasks()}
                assert {name for name in named if name.startswith(("fill", "complete"))} == set()
                assert [path for path in descriptors() if f"{tmp_path}/" in path and ".sqlite" not in path] == []
            assert [path for path in layout.fills.rglob("*") if path.is_file()] == []
            assert not layout.uploads.exists() or list(layout.uploads.iterdir()) == []
            assert await stores.wrong() == []
            stored = {digest async for digest, _ in stores.blobs.scan()}
            assert stored >= {layer.digest for each in samples for layer in each.layers}
    # The last of them may still be held, by an exception for one; a leak would leave thousands.
    left = kept_alive() - alive
    assert all(count <= CLIENTS for count in left.values()), left
    await until_closed(began)
    assert grown < (REQUESTS - WARM) * _PER_REQUEST
    # It was a soak: every fault happened, and most of what was asked for was answered all the same.
    seen = sum((client.seen for client in clients), Counter[tuple[str, int]]())
    assert sum(seen.values()) == REQUESTS
    assert len(chaos.counts) == 18
    assert sum(count for (_, status), count in seen.items() if status in {200, 206}) > REQUESTS // 2


async def pull_everything(product: Product, samples: list[Sample]) -> None:
    """Pull all content of an upstream that is well again: each is right, and whatever was left half done is done."""
    for each in samples:
        for place, right in [
            ("manifests/latest", each.image.raw),
            *((f"blobs/{layer.digest}", layer.read(0, layer.size)) for layer in each.layers),
        ]:
            pulled = await product.pull(f"{each.path}/{place}")
            assert (pulled.status, pulled.whole) == (200, True), (place, pulled.body[:300])
            assert pulled.body == right
        head = await product.pull(f"{each.path}/blobs/{each.layers[0].digest}", "HEAD")
        assert (head.status, head.headers["Content-Length"]) == (200, str(each.layers[0].size))


async def until_closed(began: int) -> None:
    """Wait until no more file descriptors are open than at first; sockets close in their own time."""
    async with asyncio.timeout(10):
        while len(descriptors()) > began:  # noqa: ASYNC110 - nobody is told when a socket is gone
            await asyncio.sleep(0)
