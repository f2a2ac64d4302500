import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from proxy.core.fills.ports import Origin
from proxy.core.ports import BlobReader
from proxy.core.sources import TransferError
from proxy.core.tasks import Tasks
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.storage.blobs import MemoryBlobStore
from proxy.storage.partials import MemoryPartialStore
from tests.support.background import started
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute, broken


async def test_a_miss_is_streamed_and_kept(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    assert source.total == len(CONTENT)
    assert source.status == CacheStatus(forward=Forward.MISS, stored=True)
    assert await read(source) == CONTENT
    assert await bench.stored() == CONTENT
    assert bench.metric("pullthrough_bytes_total", flow="stored") == len(CONTENT)


async def test_a_stored_blob_needs_no_upstream(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    await read(await bench.fills.open(DIGEST, route))
    await bench.settled()
    source = await bench.fills.open(DIGEST, route)
    assert source.status == CacheStatus(hit=True)
    assert await read(source, 100, 200) == CONTENT[100:200]
    assert route.requests == [0]


async def test_clients_share_one_request(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={5000: gate}))
    first = await bench.fills.open(DIGEST, route)
    others = [await bench.fills.open(DIGEST, ScriptedRoute(b"", name="hub library/python")) for _ in range(5)]
    assert all(source.status.collapsed for source in others)
    assert not first.status.collapsed
    reading = [started(read(source)) for source in [first, *others]]
    gate.open()
    assert await asyncio.gather(*reading) == [CONTENT] * 6
    assert route.requests == [0]
    assert bench.metric("pullthrough_fills_joined_total") == 5


async def test_clients_that_ask_at_the_same_moment_share_one_request(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    sources = await asyncio.gather(*(bench.fills.open(DIGEST, route) for _ in range(20)))
    assert await asyncio.gather(*map(read, sources)) == [CONTENT] * 20
    assert route.requests == [0]


async def test_the_fill_goes_on_when_its_first_client_leaves(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={5000: gate}))
    first = await bench.fills.open(DIGEST, route)
    second = await bench.fills.open(DIGEST, route)
    await read_some(first, 1000)
    first.close()
    gate.open()
    assert await read(second) == CONTENT
    assert route.requests == [0]


async def test_the_fill_goes_on_when_all_clients_have_left(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={5000: gate}))
    sources = [await bench.fills.open(DIGEST, route) for _ in range(3)]
    for source in sources:
        source.close()
        source.close()
    gate.open()
    await bench.settled()
    assert await bench.stored() == CONTENT


async def test_a_client_that_gives_up_while_it_waits_changes_nothing(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(before=gate))
    waiting = started(bench.fills.open(DIGEST, route))
    await gate.reached.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.open()
    await bench.settled()
    assert await bench.stored() == CONTENT


async def test_leaving_is_one_debug_line_and_no_error(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={5000: gate}))
    with capture_logs() as logs:
        source = await bench.fills.open(DIGEST, route)
        await read_some(source, 1000)
        source.close()
        gate.open()
        await bench.settled()
    assert [line["log_level"] for line in logs if line["event"] == "fill.left"] == ["debug"]
    assert {line["log_level"] for line in logs} == {"debug", "info"}
    assert [line["event"] for line in logs if line["log_level"] == "info"] == ["fill.started", "fill.committed"]


async def test_a_digest_whose_bytes_were_wrong_is_not_fetched_again_for_a_while(bench: FillBench) -> None:
    wrong = ScriptedRoute(CONTENT[:-1] + b"!")
    with pytest.raises(TransferError):
        await read(await bench.fills.open(DIGEST, wrong))
    for _ in range(3):
        with pytest.raises(UpstreamError) as refused:
            await bench.fills.open(DIGEST, wrong)
        assert refused.value.failure is UpstreamFailure.GARBAGE
    assert wrong.requests == [0]
    bench.clock.advance(bench.settings.failed_ttl.total_seconds() + 1)
    assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))) == CONTENT


async def test_no_fill_begins_while_the_server_shuts_down(bench: FillBench) -> None:
    bench.tasks.draining = True
    route = ScriptedRoute(CONTENT)
    with pytest.raises(ProxyError) as refused:
        await bench.fills.open(DIGEST, route)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert route.requests == []


async def test_a_shutdown_leaves_bytes_that_the_next_start_goes_on_from(bench: FillBench) -> None:
    gate = Gate()
    async with Tasks() as tasks:
        source = await bench.process(tasks).open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={6000: gate})))
        reading = started(read(source))
        await gate.reached.wait()
    with pytest.raises(TransferError):
        await reading
    assert await bench.stored() is None
    route = ScriptedRoute(CONTENT)
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    assert route.requests == [6000]


async def test_a_client_that_waits_during_the_shutdown_is_told(bench: FillBench) -> None:
    gate = Gate()
    async with Tasks() as tasks:
        waiting = started(bench.process(tasks).open(DIGEST, ScriptedRoute(CONTENT, Answer(before=gate))))
        await gate.reached.wait()
    with pytest.raises(ProxyError) as refused:
        await waiting
    assert refused.value.code is ErrorCode.UNAVAILABLE


async def test_a_blob_without_bytes_is_verified_before_it_is_answered(bench: FillBench) -> None:
    empty = Digest.of(b"")
    source = await bench.fills.open(empty, ScriptedRoute(b""))
    assert source.total == 0
    assert await read(source) == b""
    assert await bench.stored(empty) == b""


async def test_no_bytes_for_a_digest_of_some_is_an_error(bench: FillBench) -> None:
    with pytest.raises(UpstreamError) as refused:
        await bench.fills.open(DIGEST, ScriptedRoute(b""))
    assert refused.value.failure is UpstreamFailure.GARBAGE
    assert await bench.stored() is None


@pytest.mark.parametrize("content", [b"a", b"ab"])
async def test_the_smallest_blobs_are_filled(bench: FillBench, content: bytes) -> None:
    source = await bench.fills.open(Digest.of(content), ScriptedRoute(content))
    assert await read(source) == content


async def test_sha512_is_verified_too(bench: FillBench) -> None:
    digest = Digest.of(CONTENT, "sha512")
    assert await read(await bench.fills.open(digest, ScriptedRoute(CONTENT))) == CONTENT
    assert await bench.stored(digest) == CONTENT


class TestTheHeadersDeadline:
    @pytest.fixture(autouse=True)
    def short_deadline(self, bench: FillBench) -> None:
        bench.settings = bench.settings.model_copy(update={"headers_deadline": timedelta(milliseconds=5)})

    async def test_a_blob_of_known_size_is_answered_before_upstream_has(self, bench: FillBench) -> None:
        gate = Gate()
        source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(before=gate)), size=len(CONTENT))
        assert source.total == len(CONTENT)
        gate.open()
        assert await read(source) == CONTENT

    async def test_another_size_than_was_promised_cuts_the_client_off(self, bench: FillBench) -> None:
        gate = Gate()
        source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(before=gate)), size=len(CONTENT) + 1)
        gate.open()
        with pytest.raises(TransferError, match="promised"):
            await read(source)
        await bench.settled()
        assert await bench.stored() == CONTENT

    async def test_a_refusal_of_its_route_reaches_a_client_that_was_answered_early(self, bench: FillBench) -> None:
        gate = Gate()
        refused = ScriptedRoute(CONTENT, Answer(before=gate, error=broken(UpstreamFailure.DENIED)))
        source = await bench.fills.open(DIGEST, refused, size=len(CONTENT))
        held = Gate()
        other = started(bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(before=held), name="quay nginx")))
        reading = started(read(source))
        gate.open()
        with pytest.raises(TransferError):
            await reading
        held.open()
        assert await read(await other) == CONTENT

    async def test_a_failure_after_an_early_answer_is_tried_again(self, bench: FillBench) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, Answer(before=gate, error=broken()), Answer(error=broken()))
        source = await bench.fills.open(DIGEST, route, size=len(CONTENT))
        gate.open()
        assert await read(source) == CONTENT
        assert route.requests == [0, 0, 0]


class LateBlobStore(MemoryBlobStore):
    """A store into which another process commits just after the first look."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    async def open(self, digest: Digest) -> BlobReader | None:
        if self.looks == 0 and await self.stat(digest) is None:
            self.keep(DIGEST, CONTENT)
        self.looks -= 1
        return await super().open(digest)


@pytest.mark.parametrize("looks", [0, 1])
async def test_a_blob_committed_before_the_lock_was_won_is_not_fetched_again(bench: FillBench, looks: int) -> None:
    # Without a second look, under the lock, one small blob in nine was fetched twice.
    bench.blobs = LateBlobStore(looks)
    bench.partials = MemoryPartialStore(bench.blobs)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    assert source.status.hit
    assert await read(source) == CONTENT
    assert route.requests == []
    assert bench.partials.partials == {}


async def test_bytes_that_were_all_there_are_verified_and_served_without_a_request(bench: FillBench) -> None:
    dead = await bench.partials.open(DIGEST)
    await dead.begin(len(CONTENT), Origin())
    await dead.append([CONTENT])
    dead.close()
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    assert source.status.collapsed
    assert await read(source) == CONTENT
    assert route.requests == []
    assert await bench.stored() == CONTENT


async def test_wrong_bytes_of_a_dead_owner_are_thrown_away_before_anything_is_answered(bench: FillBench) -> None:
    dead = await bench.partials.open(DIGEST)
    await dead.begin(len(CONTENT), Origin())
    await dead.append([b"?" * len(CONTENT)])
    dead.close()
    assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))) == CONTENT
    assert bench.metric("pullthrough_verify_failures_total", rule="hub") == 1


async def test_wrong_bytes_of_one_route_do_not_keep_another_from_being_asked(bench: FillBench) -> None:
    # Whoever can make one upstream lie about a digest must not take it from the clients of all others.
    hostile = ScriptedRoute(CONTENT[:-1] + b"!", name="evil nginx")
    with pytest.raises(TransferError):
        await read(await bench.fills.open(DIGEST, hostile))
    assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))) == CONTENT


async def test_nobody_is_blamed_where_several_routes_gave_wrong_bytes_together(bench: FillBench) -> None:
    gate = Gate()
    failing = [Answer(error=broken())] * 9
    hostile = ScriptedRoute(b"?" * len(CONTENT), Answer(gates={4000: gate}, breaks=4000), *failing, name="evil nginx")
    honest = ScriptedRoute(CONTENT)
    sources = [await bench.fills.open(DIGEST, route) for route in (hostile, honest)]
    gate.open()
    results = await asyncio.gather(*map(read, sources), return_exceptions=True)
    assert [type(result) for result in results] == [TransferError] * 2
    assert await read(await bench.fills.open(DIGEST, honest)) == CONTENT
