"""One large blob by several connections: what is asked for, in which order it is read, what is lost when one fails."""

import asyncio

import pytest
from pydantic import ByteSize

from proxy.core.fills.parallel import Pieces, even_piece
from proxy.core.fills.ports import Origin
from proxy.core.fills.spans import Span, Spans
from proxy.core.sources import BlobSource, TransferError
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamFailure
from tests.support.background import started, until
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute, broken
from tests.support.slow_partials import SlowPartialStore

SIZE = len(CONTENT)
PIECES = list(range(0, SIZE, 1000))


async def opened(bench: FillBench, route: ScriptedRoute) -> BlobSource:
    return await bench.fills.open(DIGEST, route, size=SIZE)


async def test_a_large_blob_comes_in_pieces_by_as_many_connections(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, parallel=4, at={start: [Answer(gates={start: gate})] for start in PIECES})
    reading = started(read(await opened(bench, route)))
    await until(lambda: route.running == 4)
    gate.open()
    assert await reading == CONTENT
    assert sorted(route.requests) == PIECES
    assert route.requests[0] == 0
    assert route.most == 4
    assert route.sent == SIZE
    assert await bench.stored() == CONTENT


@pytest.mark.parametrize("parallel", [2, 3, 16])
async def test_many_cold_clients_cost_each_byte_once(bench: FillBench, parallel: int) -> None:
    route = ScriptedRoute(CONTENT, parallel=parallel, chunk=300)
    sources = await asyncio.gather(*(opened(bench, route) for _ in range(20)))
    assert await asyncio.gather(*map(read, sources)) == [CONTENT] * 20
    assert sorted(route.requests) == list(range(0, SIZE, 750 if parallel == 16 else 1000))
    assert route.sent == SIZE


async def test_one_connection_asks_as_ever(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    assert await read(await opened(bench, route)) == CONTENT
    assert (route.requests, route.stops) == ([0], [None])


@pytest.mark.parametrize(
    ("total", "connections", "most", "pieces"),
    [
        (40_000_000, 4, 8 << 20, 8),
        (1 << 40, 16, 8 << 20, 1 << 17),
        (12_000, 4, 1000, 12),
        (12_001, 4, 1000, 16),
        (12_000, 16, 1000, 16),
        (2_001, 2, 1000, 4),
    ],
)
def test_all_connections_have_as_many_pieces(total: int, connections: int, most: int, pieces: int) -> None:
    piece = even_piece(total, connections, most)
    assert piece <= most
    assert -(-total // piece) == pieces


@pytest.mark.parametrize(("size", "requests"), [(2000, [0]), (2001, [0, 501, 1002, 1503])])
async def test_a_blob_of_two_pieces_is_not_worth_it(bench: FillBench, size: int, requests: list[int]) -> None:
    content = CONTENT[:size]
    route = ScriptedRoute(content, parallel=4)
    assert await read(await bench.fills.open(Digest.of(content), route, size=size)) == content
    assert sorted(route.requests) == requests


async def test_a_blob_of_unknown_size_comes_by_one(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT, parallel=4)
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    assert (route.requests, route.stops) == ([0], [None])


@pytest.mark.parametrize("described", [SIZE - 3500, SIZE + 3500])
async def test_a_size_that_the_descriptor_has_wrong_is_not_trusted(bench: FillBench, described: int) -> None:
    route = ScriptedRoute(CONTENT, parallel=4)
    source = await bench.fills.open(DIGEST, route, size=described)
    assert await read(source) == CONTENT
    assert route.sent == SIZE


async def test_the_first_bytes_wait_for_no_other_piece(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, parallel=4, at={start: [Answer(before=gate)] for start in PIECES[1:]})
    source = await opened(bench, route)
    assert await read_some(source, 900) == CONTENT[:1000][: len(CONTENT[:1000])]
    gate.open()
    assert await read(source) == CONTENT


async def test_what_comes_ahead_is_not_read_before_its_turn(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, parallel=4, at={0: [Answer(gates={500: gate})]}, chunk=100)
    source = await opened(bench, route)
    got = bytearray()

    async def receive() -> None:
        async for data in source.stream(0, SIZE):
            got.extend(data)

    reading = started(receive())
    await gate.reached.wait()
    await until(lambda: len(route.requests) == 9 and route.running == 1)  # two pieces a connection are begun ahead
    assert got == CONTENT[:500]
    gate.open()
    await reading
    assert got == CONTENT
    assert route.sent == SIZE


async def test_no_more_than_two_pieces_a_connection_are_begun_ahead(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, parallel=2, at={0: [Answer(gates={0: gate})]})
    source = await opened(bench, route)
    await until(lambda: route.running == 1 and len(route.requests) == 4)
    for _ in range(200):
        await asyncio.sleep(0)
    assert sorted(route.requests) == [0, 1000, 2000, 3000]
    gate.open()
    assert await read(source) == CONTENT


class TestAPieceThatBreaksOff:
    @pytest.mark.parametrize("at", [0, 1000, 4000, 9000])
    async def test_is_resumed_alone(self, bench: FillBench, at: int) -> None:
        route = ScriptedRoute(CONTENT, parallel=4, at={at: [Answer(breaks=at + 400)]})
        assert await read(await opened(bench, route)) == CONTENT
        assert sorted(route.requests) == sorted([*PIECES, at + 400])
        assert route.sent == SIZE

    async def test_carries_the_entity_tag(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, parallel=4, at={3000: [Answer(breaks=3100)]})
        assert await read(await opened(bench, route)) == CONTENT
        assert set(route.validators[1:]) == {'"1"'}

    @pytest.mark.parametrize("failure", list(UpstreamFailure))
    async def test_leaves_its_piece_to_the_other_connections(self, bench: FillBench, failure: UpstreamFailure) -> None:
        # A registry that refuses a second connection is left with one.
        refused = {start: [Answer(error=broken(failure))] for start in (1000, 2000, 3000)}
        route = ScriptedRoute(CONTENT, parallel=4, at=refused)
        assert await read(await opened(bench, route)) == CONTENT
        assert sorted(route.requests) == sorted([*PIECES, 1000, 2000, 3000])
        assert route.sent == SIZE

    async def test_ends_the_transfer_when_no_connection_is_left(self, bench: FillBench) -> None:
        refused = {start: [Answer(error=broken())] * 20 for start in PIECES[1:]}
        route = ScriptedRoute(CONTENT, parallel=4, at=refused)
        with pytest.raises(TransferError):
            await read(await opened(bench, route))
        assert route.most <= 4
        again = ScriptedRoute(CONTENT, parallel=4)
        assert await read(await opened(bench, again)) == CONTENT
        assert min(again.requests) == 1000

    async def test_keeps_what_others_had_brought_when_all_had_failed(self, bench: FillBench) -> None:
        # All connections end at 1000 to 2000; what came behind that is not asked for again.
        gate = Gate()
        lost = [Answer(before=gate, error=broken()), *[Answer(error=broken())] * 3, Answer()]
        route = ScriptedRoute(CONTENT, parallel=4, at={1000: lost})
        source = await opened(bench, route)
        await until(lambda: len(route.requests) == 9 and route.running == 1)
        gate.open()
        assert await read(source) == CONTENT
        assert sorted(set(route.requests)) == PIECES
        assert route.sent == SIZE


class TestAnUpstreamThatIgnoresRanges:
    async def test_from_the_start_comes_by_one(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, Answer(start=0), parallel=4)
        assert await read(await opened(bench, route)) == CONTENT
        assert route.requests == [0]

    @pytest.mark.parametrize("at", [1000, 2000, 5000, 9000])
    async def test_later_brings_all_the_rest_and_loses_nothing(self, bench: FillBench, at: int) -> None:
        route = ScriptedRoute(CONTENT, parallel=2, at={at: [Answer(start=0)]})
        assert await read(await opened(bench, route)) == CONTENT
        assert all(start <= at + 1000 for start in route.requests)
        assert bench.metric("pullthrough_bytes_total", flow="stored") == SIZE

    async def test_and_only_the_end_of_the_range_brings_the_rest(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, parallel=2, at={2000: [Answer(start=2000)]})
        assert await read(await opened(bench, route)) == CONTENT
        assert bench.metric("pullthrough_bytes_total", flow="stored") == SIZE

    async def test_and_breaks_off_is_resumed(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, parallel=2, at={2000: [Answer(start=0, breaks=6500)]})
        assert await read(await opened(bench, route)) == CONTENT
        assert bench.metric("pullthrough_bytes_total", flow="stored") == SIZE


class TestAnAnswerOfAnotherBlob:
    CASES = (
        Answer(start=3001),
        Answer(total=SIZE + 1),
        Answer(total=SIZE - 1),
        Answer(validator='"2"'),
        Answer(stop=3500),
    )

    @pytest.mark.parametrize("answer", CASES)
    async def test_is_never_mixed_in(self, bench: FillBench, answer: Answer) -> None:
        route = ScriptedRoute(CONTENT, parallel=3, at={3000: [answer]})
        assert await read(await opened(bench, route)) == CONTENT
        assert route.requests.count(3000) == 2

    async def test_everywhere_leaves_one_connection(self, bench: FillBench) -> None:
        # Servers behind one name, each with entity tags of its own.
        other = {start: [Answer(validator='"2"')] * 20 for start in PIECES[1:]}
        route = ScriptedRoute(CONTENT, parallel=3, at=other)
        source = await opened(bench, route)
        await bench.settled()
        assert await read(source) == CONTENT


async def test_wrong_bytes_in_one_piece_are_found_before_the_last_byte_leaves(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT, parallel=4, at={4000: [Answer(data=b"?" * SIZE)]})
    source = await opened(bench, route)
    got = bytearray()

    async def receive() -> None:
        async for data in source.stream(0, SIZE):
            got.extend(data)

    with pytest.raises(TransferError, match="another digest"):
        await receive()
    assert len(got) < SIZE
    assert await bench.stored() is None


@pytest.mark.parametrize("room", [0, 500, 4500, SIZE - 1])
async def test_a_full_disk_passes_the_rest_through(bench: FillBench, room: int) -> None:
    bench.partials.capacity = room
    route = ScriptedRoute(CONTENT, parallel=4)
    assert await read(await opened(bench, route)) == CONTENT
    assert await bench.stored() is None


async def test_a_dead_owners_bytes_up_to_the_watermark_are_gone_on_from(bench: FillBench) -> None:
    dead = await bench.partials.open(DIGEST)
    await dead.begin(SIZE, Origin("hub library/nginx", '"1"'))
    await dead.append([CONTENT[:2500]])
    await dead.write_ahead(5000, [b"?" * 1000])
    dead.close()
    route = ScriptedRoute(CONTENT, parallel=3)
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    assert sorted(route.requests) == list(range(2500, SIZE, 1000))
    assert route.sent == SIZE - 2500


async def test_a_slow_disk_pauses_all_connections(bench: FillBench) -> None:
    content = bytes(400_000)
    gate = Gate()
    bench.settings = bench.settings.model_copy(update={"piece": ByteSize(50_000)})
    fills = bench.process(partials=SlowPartialStore(bench, gate))
    route = ScriptedRoute(content, parallel=4)
    source = await fills.open(Digest.of(content), route, size=len(content))
    await gate.reached.wait()
    for _ in range(2000):
        await asyncio.sleep(0)
    # What waits for the disk, what is being written, and for each connection the chunk in hand and the next.
    assert route.sent <= 6 * bench.settings.batch + 4 * 3 * 1000
    gate.open()
    assert await read(source) == content


def test_spans_tell_what_is_missing() -> None:
    spans = Spans()
    spans.add(20, 30)
    spans.add(40, 50)
    assert spans.missing(0, 60) == [Span(0, 20), Span(30, 40), Span(50, 60)]
    spans.add(30, 40)
    assert spans.missing(0, 60) == [Span(0, 20), Span(50, 60)]
    assert (spans.reach(10), spans.reach(20)) == (10, 50)
    assert not spans


def test_pieces_are_handed_out_in_order_and_taken_back() -> None:
    pieces = Pieces([Span(0, 25), Span(40, 45)], 10)
    assert pieces.count == 4
    first, second = pieces.take(), pieces.take()
    assert (first, second, pieces.first) == (Span(0, 10), Span(10, 20), 20)
    pieces.put_back([Span(3, 10)])
    assert pieces.take() == Span(3, 10)
    assert pieces.take_from(20) == [Span(20, 25), Span(40, 45)]
    assert pieces.first is None
