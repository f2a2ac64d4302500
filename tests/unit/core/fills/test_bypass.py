import asyncio

import pytest

from proxy.core.sources import TransferError
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from tests.support.background import started, until
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_into, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute, broken

PASSED = CacheStatus(forward=Forward.MISS, bypass=True)


@pytest.fixture
def full(bench: FillBench) -> FillBench:
    """A store with less room than the blob needs."""
    bench.blobs.capacity = len(CONTENT) - 1
    return bench


async def test_a_blob_that_does_not_fit_is_passed_through_by_one_request_a_client(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    for _ in range(2):
        source = await full.fills.open(DIGEST, route, size=len(CONTENT))
        assert source.status == PASSED
        assert await read(source) == CONTENT
    assert route.requests == [0, 0]
    assert await full.stored() is None
    assert full.partials.partials == {}
    assert full.metric("pullthrough_bytes_total", flow="passed") == 2 * len(CONTENT)


async def test_clients_are_passed_through_at_the_same_time(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    sources = await asyncio.gather(*(full.fills.open(DIGEST, route, size=len(CONTENT)) for _ in range(5)))
    assert await asyncio.gather(*map(read, sources)) == [CONTENT] * 5
    assert route.requests == [0] * 5


async def test_a_size_that_only_upstream_knows_is_held_against_the_room_too(full: FillBench) -> None:
    source = await full.fills.open(DIGEST, ScriptedRoute(CONTENT))
    assert source.status == PASSED
    assert await read(source) == CONTENT
    assert full.partials.partials == {}


async def test_min_free_is_left(bench: FillBench) -> None:
    bench.min_free = 100
    bench.blobs.capacity = len(CONTENT) + 99
    assert (await bench.fills.open(DIGEST, ScriptedRoute(CONTENT), size=len(CONTENT))).status.bypass
    await bench.settled()
    bench.blobs.capacity += 1
    assert (await bench.fills.open(DIGEST, ScriptedRoute(CONTENT), size=len(CONTENT))).status.stored


async def test_fills_that_run_are_counted_against_the_room(bench: FillBench) -> None:
    bench.blobs.capacity = len(CONTENT) * 3 // 2
    gate = Gate()
    first = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={10: gate})))
    other = CONTENT[::-1]
    second = await bench.fills.open(Digest.of(other), ScriptedRoute(other))
    assert (first.status.stored, second.status.bypass) == (True, True)
    gate.open()
    assert await read(first) == CONTENT
    assert await read(second) == other


async def test_a_store_that_cannot_be_written_passes_through(bench: FillBench) -> None:
    bench.partials.writable = False
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    assert source.status == PASSED
    assert await read(source) == CONTENT
    assert route.requests == [0]


async def test_an_upstream_error_is_told_before_the_first_byte(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT, Answer(error=broken(UpstreamFailure.DENIED)))
    with pytest.raises(UpstreamError):
        await full.fills.open(DIGEST, route, size=len(CONTENT))


async def test_a_range_is_asked_for_and_no_more_is_read(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    source = await full.fills.open(DIGEST, route, size=len(CONTENT))
    assert await read(source, 3000, 5000) == CONTENT[3000:5000]
    assert route.requests == [0, 3000]
    assert (route.sent, route.running) == (2000, 0)


async def test_a_source_that_is_not_streamed_closes_its_transfer(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    source = await full.fills.open(DIGEST, route, size=len(CONTENT))
    assert route.running == 1
    source.close()
    source.close()
    await until(lambda: not route.running)


async def test_wrong_bytes_are_cut_off_before_their_end(full: FillBench) -> None:
    source = await full.fills.open(DIGEST, ScriptedRoute(b"?" * len(CONTENT)), size=len(CONTENT))
    got = bytearray()
    with pytest.raises(TransferError, match="another digest"):
        await read_into(got, source)
    assert len(got) < len(CONTENT)
    assert full.metric("pullthrough_verify_failures_total", rule="hub") == 1


async def test_no_bytes_for_a_digest_of_some_is_an_error(bench: FillBench) -> None:
    bench.partials.writable = False
    with pytest.raises(UpstreamError):
        await bench.fills.open(DIGEST, ScriptedRoute(b""))


async def test_a_transfer_that_breaks_off_is_resumed(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT, Answer(breaks=4000), Answer(error=broken()), Answer(start=0))
    assert await read(await full.fills.open(DIGEST, route, size=len(CONTENT))) == CONTENT
    assert route.requests == [0, 4000, 4000]
    assert route.validators == ["", '"1"', '"1"']


@pytest.mark.parametrize(
    "answer",
    [
        Answer(error=broken(UpstreamFailure.NOT_FOUND)),
        Answer(total=len(CONTENT) + 1),
        Answer(start=4001),
        Answer(validator='"2"'),
    ],
)
async def test_a_transfer_that_cannot_be_resumed_ends_short(full: FillBench, answer: Answer) -> None:
    route = ScriptedRoute(CONTENT, Answer(breaks=4000), answer)
    source = await full.fills.open(DIGEST, route, size=len(CONTENT))
    with pytest.raises(TransferError):
        await read(source)


async def test_attempts_without_progress_are_bounded(full: FillBench) -> None:
    route = ScriptedRoute(CONTENT, *[Answer(breaks=4000)] * 9)
    source = await full.fills.open(DIGEST, route, size=len(CONTENT))
    with pytest.raises(TransferError):
        await read(source)
    assert route.requests == [0, 4000, 4000]


class TestADiskThatFillsUpInTheMiddle:
    @pytest.fixture
    def bench(self, bench: FillBench) -> FillBench:
        bench.partials.capacity = 5000
        return bench

    async def test_all_clients_get_their_bytes_each_by_its_own_request(self, bench: FillBench) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, Answer(gates={1000: gate}))
        sources = [await bench.fills.open(DIGEST, route) for _ in range(3)]
        ranged = await bench.fills.open(DIGEST, route)
        reading = [started(read(source)) for source in sources]
        part = started(read(ranged, 7000, 9000))
        gate.open()
        assert await asyncio.gather(*reading) == [CONTENT] * 3
        assert await part == CONTENT[7000:9000]
        drained = min(route.requests[1:])
        assert 0 < drained <= 5000
        assert sorted(route.requests) == [0, drained, drained, drained, 7000]
        assert await bench.stored() is None
        await bench.settled()
        assert bench.partials.partials == {}

    async def test_nobody_waits_for_a_client_that_does_not_read(self, bench: FillBench) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, Answer(gates={1000: gate}))
        slow = await bench.fills.open(DIGEST, route)
        await read_some(slow, 10)
        fast = await bench.fills.open(DIGEST, route)
        gate.open()
        assert await read(fast) == CONTENT
        await bench.settled()
        assert await read(slow) == CONTENT

    async def test_what_the_clients_get_is_verified_with_the_bytes_before(self, bench: FillBench) -> None:
        source = await bench.fills.open(DIGEST, ScriptedRoute(b"?" + CONTENT[1:]))
        with pytest.raises(TransferError, match="another digest"):
            await read(source)

    async def test_a_range_that_begins_behind_the_bytes_is_left_to_the_client_to_verify(self, bench: FillBench) -> None:
        gate = Gate()
        route = ScriptedRoute(b"?" + CONTENT[1:], Answer(gates={1000: gate}))
        source = await bench.fills.open(DIGEST, route)
        reading = started(read(source, 8000))
        gate.open()
        assert await reading == CONTENT[8000:]

    async def test_the_next_client_tries_to_keep_it_again(self, bench: FillBench) -> None:
        assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))) == CONTENT
        await bench.settled()
        bench.partials.capacity = 1 << 20
        assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))) == CONTENT
        assert await bench.stored() == CONTENT


async def test_a_commit_that_fails_still_serves_the_verified_bytes(bench: FillBench) -> None:
    gate = Gate()
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={9000: gate})))
    await gate.reached.wait()
    bench.blobs.capacity = 0
    gate.open()
    assert await read(source) == CONTENT
    assert await bench.stored() is None
    await bench.settled()
    assert bench.partials.partials == {}
