"""Every fault of `table`, through the whole product, for each thing that clients ask for, kept here or not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import trustme

from proxy.model.rule import CacheRule, Completion
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.partials.memory import MemoryPartialStore
from tests.emulators import ATTACKER, Content, Quay, Repository, Route, run
from tests.emulators import faults as fault
from tests.integration.faults.product import Product, Pulled, Stores, run_product
from tests.integration.faults.table import COLUMNS, OUTCOMES, ROWS, Outcome, Row, Scene
from tests.support.clock import FakeClock
from tests.support.upstream_dns import Lookup

BASE = f"/v2/quay/{Quay.public_repository}"
CELLS = [
    pytest.param(row, column, id=f"{row.name}-{column}")
    for row in ROWS
    for column in COLUMNS
    if row.cold(column) is not None
]
KEPT = [
    pytest.param(row, column, id=f"{row.name}-{column}")
    for row in ROWS
    for column in COLUMNS
    if row.kept(column) is not None
]


@pytest.fixture(scope="session")
def samples() -> Content:
    return Content()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def quay(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[Quay]:
    """A registry with the referrers API, links to storage, and (until they are enforced) without limits."""
    async with run(Quay(samples, clock), authority=authority) as running:
        yield running


@pytest.fixture
def stores() -> Stores:
    blobs = MemoryBlobStore()
    return Stores(MemoryMetadataStore(), blobs, MemoryPartialStore(blobs))


def rule_for(row: Row, quay: Quay) -> CacheRule:
    # Our own manners are shown elsewhere: an injected clock stands still. `stale_after` is longer than any budget
    # here, so that it is the upstream that fails, and not the client's patience.
    return quay.rule(
        with_account=row.account,
        complete=Completion.NONE,
        requests_per_second=1000.0,
        stale_after=timedelta(seconds=30),
    )


def path_of(column: str, samples: Content) -> str:
    public = samples.public
    return {
        "tag": f"{BASE}/manifests/latest",
        "digest": f"{BASE}/manifests/{public.children[0].digest}",
        "blob": f"{BASE}/blobs/{public.layer.digest}",
        "tags": f"{BASE}/tags/list",
        "referrers": f"{BASE}/referrers/{public.listed.digest}",
    }[column]


def is_right(column: str, pulled: Pulled, samples: Content) -> bool:
    """Tell whether an answer is the content that the registry holds, whole."""
    public = samples.public
    if not pulled.whole:
        return False
    if column == "tags":
        return bool(json.loads(pulled.body)["tags"] == sorted(public.tags))
    if column == "referrers":
        named = [each["digest"] for each in json.loads(pulled.body)["manifests"]]
        return bool(named == [each["digest"] for each in public.referrers(str(public.listed.digest))])
    right = {
        "tag": public.index.raw,
        "digest": public.children[0].raw,
        "blob": public.layer.read(0, public.layer.size),
    }
    return pulled.body == right[column]


def check(outcome: Outcome, column: str, pulled: Pulled, samples: Content) -> None:
    """Show that an answer is one of those that the table permits, with the headers that belong to it."""
    told = pulled.body[:300] if pulled.status != 200 else f"{len(pulled.body)} bytes"
    seen = f"{pulled.status} {'whole' if pulled.whole else 'broken'} {told!r} {pulled.headers.get('Cache-Status')}"
    if not pulled.whole:
        assert outcome.broken, seen
        assert pulled.status in {0, 200}, seen
        return
    if pulled.status != 200:
        assert pulled.headers["Content-Type"] == "application/json", seen
        [error] = json.loads(pulled.body)["errors"]
        assert (error["code"], pulled.status) in {(code.name, code.status) for code in outcome.codes}, seen
        assert ("Retry-After" in pulled.headers) == (pulled.status == 429), seen
        assert "WWW-Authenticate" not in pulled.headers, seen
        return
    assert outcome.right, seen
    assert is_right(column, pulled, samples), seen
    assert ("detail=stale" in pulled.headers["Cache-Status"]) == outcome.stale, seen
    if column == "tag":
        assert ("Warning" in pulled.headers) == outcome.stale, seen
        assert not outcome.stale or "quay.io did not confirm" in pulled.headers["Warning"], seen


async def ask(product: Product, path: str) -> Pulled:
    # What clients wait for headers; the budgets here are a second, and most faults take none of it.
    async with asyncio.timeout(25):
        return await product.pull(path)


@asynccontextmanager
async def befallen(row: Row, column: str, quay: Quay, stores: Stores, clock: FakeClock) -> AsyncIterator[Product]:
    """Run the product while the fault happens."""
    changes = dict(row.limits) | ({} if row.dns else {"connect_to": {}})
    settings = quay.settings_with(**changes)
    row.arm(Scene(quay, clock, row.at[column]))
    quay.journal.clear()
    async with run_product(stores, rule_for(row, quay), settings, clock, Lookup([])) as product:
        yield product


async def recovers(row: Row, column: str, quay: Quay, stores: Stores, product: Product, clock: FakeClock) -> None:
    """Show that nothing remains of a fault once it and what is remembered of it are over."""
    quay.faults.clear()
    quay.listener.broken_tls.clear()
    clock.advance(400)
    path = path_of(column, quay.content)
    if row.limits or not row.dns:
        async with run_product(stores, rule_for(row, quay), quay.settings, clock) as patient:
            pulled = await ask(patient, path)
    else:
        pulled = await ask(product, path)
    assert pulled.status == 200, pulled
    assert is_right(column, pulled, quay.content), pulled
    assert "detail=stale" not in pulled.headers["Cache-Status"]


@pytest.mark.parametrize(("row", "column"), CELLS)
async def test_nothing_is_kept(row: Row, column: str, quay: Quay, stores: Stores, clock: FakeClock) -> None:
    outcome, path = row.cold(column), path_of(column, quay.content)
    assert outcome is not None
    async with befallen(row, column, quay, stores, clock) as product:
        pulled = await ask(product, path)
        check(outcome, column, pulled, quay.content)
        assert quay.journal.count() <= row.most, quay.journal.lines
        if pulled.status in {403, 404, 429}:
            asked = quay.journal.count()
            assert (await ask(product, path)).status == pulled.status
            assert quay.journal.count() == asked, quay.journal.lines
        if not pulled.whole or pulled.status != 200:
            assert [digest async for digest, _ in stores.blobs.scan()] == []
        await recovers(row, column, quay, stores, product, clock)
    assert await stores.wrong() == []
    assert quay.leaks() == []
    assert quay.journal.count(host=ATTACKER) == 0


@pytest.mark.parametrize(("row", "column"), KEPT)
async def test_a_copy_is_kept(row: Row, column: str, quay: Quay, stores: Stores, clock: FakeClock) -> None:
    outcome, path = row.kept(column), path_of(column, quay.content)
    assert outcome is not None
    async with run_product(stores, rule_for(row, quay), quay.settings, clock) as yesterday:
        assert (await ask(yesterday, path)).status == 200
    clock.advance(301)
    async with befallen(row, column, quay, stores, clock) as product:
        pulled = await ask(product, path)
        check(outcome, column, pulled, quay.content)
        asked = quay.journal.count()
        assert asked <= row.most, quay.journal.lines
        # Neither a copy that was confirmed nor a check that failed is gone about again at once.
        check(outcome, column, await ask(product, path), quay.content)
        assert quay.journal.count() == asked, quay.journal.lines
        await recovers(row, column, quay, stores, product, clock)
    assert await stores.wrong() == []
    assert quay.leaks() == []
    assert quay.journal.count(host=ATTACKER) == 0


@pytest.mark.parametrize("column", ["digest", "blob"])
async def test_what_is_kept_by_digest_needs_no_upstream(
    column: str, quay: Quay, stores: Stores, clock: FakeClock
) -> None:
    rule, path = rule_for(ROWS[0], quay), path_of(column, quay.content)
    async with run_product(stores, rule, quay.settings, clock) as yesterday:
        assert (await ask(yesterday, path)).status == 200
    await quay.listener.stop()
    quay.journal.clear()
    clock.advance(86400)
    async with run_product(stores, rule, quay.settings, clock) as product:
        check(OUTCOMES["ok"], column, await ask(product, path), quay.content)
    assert quay.journal.count() == 0


async def test_a_repository_without_tags_has_an_empty_list(quay: Quay, stores: Stores, clock: FakeClock) -> None:
    # Not a failure: registries write null for an empty list.
    quay.faults.add(fault.tags_null(), route=Route.TAGS, method="GET", nth=2, times=None)
    async with run_product(stores, rule_for(ROWS[0], quay), quay.settings, clock) as product:
        pulled = await ask(product, path_of("tags", quay.content))
    assert (pulled.status, json.loads(pulled.body)["tags"]) == (200, [])


@pytest.mark.parametrize(
    ("origin", "status"), [("https://quay.io", 200), ("", 200), (f"https://{ATTACKER}", 502), ("http://quay.io", 502)]
)
async def test_the_link_to_a_next_page_stays_at_the_registry(
    origin: str, status: int, quay: Quay, stores: Stores, clock: FakeClock
) -> None:
    quay.page = 2
    quay.faults.add(fault.link_at(origin), route=Route.TAGS, times=None)
    async with run_product(stores, rule_for(ROWS[0], quay), quay.settings, clock) as product:
        pulled = await ask(product, path_of("tags", quay.content))
    assert pulled.status == status, pulled.body
    assert status != 200 or is_right("tags", pulled, quay.content)
    assert quay.journal.count(host=ATTACKER) == 0


@pytest.mark.parametrize(("pages", "status"), [(30, 200), (29, 502)])
async def test_a_long_list_is_whole_or_an_error(
    pages: int, status: int, quay: Quay, stores: Stores, clock: FakeClock
) -> None:
    names = [f"v{number:04}" for number in range(300)]
    quay.repositories["acme/huge"] = Repository(tags=dict.fromkeys(names, quay.content.public.index.digest))
    quay.page = 10
    settings = quay.settings_with(max_tag_pages=pages)
    async with run_product(stores, rule_for(ROWS[0], quay), settings, clock) as product:
        pulled = await ask(product, "/v2/quay/acme/huge/tags/list")
    assert pulled.status == status, pulled.body
    assert status != 200 or json.loads(pulled.body)["tags"] == names


async def test_a_tag_that_moves_between_head_and_get_is_what_the_get_says(
    clock: FakeClock, stores: Stores, authority: trustme.CA
) -> None:
    content = Content()
    public = content.public

    def move() -> None:
        public.tags["latest"] = public.big.digest

    async with (
        run(Quay(content, clock), authority=authority) as quay,
        run_product(stores, rule_for(ROWS[0], quay), quay.settings, clock) as product,
    ):
        assert (await ask(product, f"{BASE}/manifests/latest")).body == public.index.raw
        clock.advance(301)
        public.tags["latest"] = public.image.digest
        quay.faults.add(fault.afterwards(move), route=Route.MANIFEST, method="HEAD")
        pulled = await ask(product, f"{BASE}/manifests/latest")
    assert (pulled.status, pulled.body) == (200, public.big.raw)
    assert pulled.headers["Docker-Content-Digest"] == str(public.big.digest)
