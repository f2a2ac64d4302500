"""Fills that nobody asked for: they wait for those that somebody did, give way to them, and take no room from them."""

import asyncio

import pytest

from proxy.core.fills.ports import State
from proxy.core.ports import StorageFullError
from proxy.core.tasks import Tasks
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from tests.support.background import started, until
from tests.support.fills import CONTENT, DIGEST, FillBench, read
from tests.support.routes import Answer, Gate, ScriptedRoute, broken

SIZE = len(CONTENT)
OTHER = CONTENT[::-1]
OTHER_DIGEST = Digest.of(OTHER)


async def test_a_blob_is_fetched_and_kept(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT)
    await bench.fills.keep(DIGEST, route, SIZE)
    assert await bench.stored() == CONTENT
    await bench.fills.keep(DIGEST, route, SIZE)
    assert route.requests == [0]


async def test_it_waits_while_a_client_waits_for_another_blob_of_the_rule(bench: FillBench) -> None:
    gate = Gate()
    source = await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER, Answer(gates={500: gate})))
    route = ScriptedRoute(CONTENT)
    keeping = started(bench.fills.keep(DIGEST, route, SIZE))
    elsewhere = ScriptedRoute(CONTENT[:5000], name="quay nginx")
    await bench.fills.keep(Digest.of(CONTENT[:5000]), elsewhere, 5000)  # another rule need not wait
    assert route.requests == []
    gate.open()
    assert await read(source) == OTHER
    await keeping
    assert route.requests == [0]


@pytest.mark.parametrize("held", ["headers", "bytes"])
async def test_it_gives_way_to_a_client_and_goes_on_later(bench: FillBench, held: str) -> None:
    gate, busy = Gate(), Gate()
    answer = Answer(before=gate) if held == "headers" else Answer(gates={6000: gate})
    route = ScriptedRoute(CONTENT, answer)
    keeping = started(bench.fills.keep(DIGEST, route, SIZE))
    await gate.reached.wait()
    source = await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER, Answer(gates={500: busy})))
    await until(lambda: route.running == 0)
    busy.open()
    assert await read(source) == OTHER
    await keeping
    assert route.requests == [0, 0 if held == "headers" else 6000]
    assert await bench.stored() == CONTENT


async def test_a_small_blob_that_is_on_its_way_does_not_give_way(bench: FillBench) -> None:
    gate, small = Gate(), CONTENT[:1500]
    route = ScriptedRoute(small, Answer(before=gate))
    keeping = started(bench.fills.keep(Digest.of(small), route, len(small)))
    await gate.reached.wait()
    assert await read(await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER))) == OTHER
    gate.open()
    await keeping
    assert route.requests == [0]


async def test_who_asks_for_a_small_blob_that_did_not_give_way_joins(bench: FillBench) -> None:
    gate, small = Gate(), CONTENT[:1500]
    route = ScriptedRoute(small, Answer(before=gate))
    keeping = started(bench.fills.keep(Digest.of(small), route, len(small)))
    await gate.reached.wait()
    assert await read(await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER))) == OTHER
    opening = started(bench.fills.open(Digest.of(small), route, size=len(small)))
    await asyncio.sleep(0)
    assert bench.metric("pullthrough_fills_joined_total") == 1
    gate.open()
    source = await opening
    assert await read(source) == small
    await keeping
    assert route.requests == [0]


async def test_it_does_not_give_way_to_another_rule(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={6000: gate}))
    keeping = started(bench.fills.keep(DIGEST, route, SIZE))
    await gate.reached.wait()
    assert await read(await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER, name="quay nginx"))) == OTHER
    gate.open()
    await keeping
    assert route.requests == [0]


async def test_a_client_who_asks_for_it_joins_and_keeps_it_going(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={6000: gate}))
    keeping = started(bench.fills.keep(DIGEST, route, SIZE))
    await gate.reached.wait()
    source = await bench.fills.open(DIGEST, route)
    assert source.status.collapsed
    other = await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER))
    assert await read(other) == OTHER
    gate.open()
    assert await read(source) == CONTENT
    await keeping
    assert route.requests == [0]


async def test_a_client_who_asks_for_what_just_gave_way_goes_on_from_there(bench: FillBench) -> None:
    gate, busy = Gate(), Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={6000: gate}))
    keeping = started(bench.fills.keep(DIGEST, route, SIZE))
    await gate.reached.wait()
    opening = started(bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER, Answer(before=busy))))
    await busy.reached.wait()
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    busy.open()
    assert await read(await opening) == OTHER
    await keeping
    assert route.requests == [0, 6000]


async def test_it_joins_what_a_client_fetches(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={6000: gate}))
    source = await bench.fills.open(DIGEST, route)
    keeping = started(bench.fills.keep(DIGEST, ScriptedRoute(b""), SIZE))
    source.close()
    gate.open()
    await keeping
    assert route.requests == [0]


@pytest.mark.parametrize("failure", [UpstreamFailure.NOT_FOUND, UpstreamFailure.UNREACHABLE])
async def test_a_failure_is_raised_and_not_repeated(bench: FillBench, failure: UpstreamFailure) -> None:
    route = ScriptedRoute(CONTENT, Answer(error=broken(failure)))
    with pytest.raises(UpstreamError):
        await bench.fills.keep(DIGEST, route, SIZE)
    assert route.requests == [0]


async def test_a_full_disk_is_told_and_nothing_is_passed_through(bench: FillBench) -> None:
    bench.blobs.capacity = SIZE - 1
    route = ScriptedRoute(CONTENT)
    with pytest.raises(StorageFullError):
        await bench.fills.keep(DIGEST, route, SIZE)
    assert route.requests == []


async def test_it_takes_no_room_from_a_clients_blob(bench: FillBench) -> None:
    bench.blobs.capacity = SIZE + 100
    gate = Gate()
    keeping = started(bench.fills.keep(DIGEST, ScriptedRoute(CONTENT, Answer(gates={0: gate})), SIZE))
    await gate.reached.wait()
    source = await bench.fills.open(OTHER_DIGEST, ScriptedRoute(OTHER, name="quay nginx"), size=SIZE)
    assert source.status.stored
    assert await read(source) == OTHER
    keeping.cancel()
    gate.open()
    await bench.settled()


async def test_it_begins_nothing_while_the_server_shuts_down(bench: FillBench) -> None:
    bench.tasks.draining = True
    with pytest.raises(ProxyError) as refused:
        await bench.fills.keep(DIGEST, ScriptedRoute(CONTENT), SIZE)
    assert refused.value.code is ErrorCode.UNAVAILABLE


async def test_a_shutdown_leaves_its_bytes_for_the_next_start(bench: FillBench) -> None:
    gate = Gate()
    async with Tasks() as tasks:
        keeping = started(bench.process(tasks).keep(DIGEST, ScriptedRoute(CONTENT, Answer(gates={6000: gate})), SIZE))
        await gate.reached.wait()
    with pytest.raises(ProxyError):
        await keeping
    heir = await bench.partials.open(DIGEST)
    assert (heir.state, heir.watermark) == (State.OWNED, 6000)
    heir.close()
