import asyncio

import pytest

from proxy.core.fills.ports import Origin, Partial, State
from proxy.core.sources import TransferError
from proxy.core.tasks import Tasks
from proxy.model.errors import UpstreamError
from tests.support.background import started, until
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute

HUNG = 1000.0
"""Longer than any owner may be silent."""


async def begun_elsewhere(bench: FillBench, size: int) -> Partial:
    """Own a fill as another process would."""
    owner = await bench.partials.open(DIGEST)
    await owner.begin(len(CONTENT), Origin("hub library/nginx", '"1"'))
    if size:
        await owner.append([CONTENT[:size]])
    return owner


async def test_processes_share_one_request(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={5000: gate}))
    processes = [bench.process() for _ in range(4)]
    sources = [await fills.open(DIGEST, route) for fills in processes for _ in range(3)]
    assert [source.status.collapsed for source in sources] == [False] + [True] * 11
    reading = [started(read(source)) for source in sources]
    gate.open()
    assert await asyncio.gather(*reading) == [CONTENT] * 12
    assert route.requests == [0]
    await bench.settled()
    assert bench.partials.partials == {}


async def test_a_follower_waits_with_the_last_byte_for_the_owners_verification(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, len(CONTENT))
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))
    assert await read_some(source, len(CONTENT) - 1) == CONTENT[:-1]
    rest = started(read(source, len(CONTENT) - 1))
    fill = bench.fills._fills[DIGEST]  # noqa: SLF001 - nothing else shows that it has seen all bytes
    await until(lambda: fill.watermark == len(CONTENT))
    assert not rest.done()
    await owner.commit()
    assert await rest == CONTENT[-1:]


async def test_a_dead_owners_fill_is_gone_on_with(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    assert await read_some(source, 5999) == CONTENT[:6000][: len(CONTENT)]
    assert route.requests == []
    owner.close()  # all that a killed process does
    assert await read(source) == CONTENT
    assert route.requests == [6000]
    assert route.validators == ['"1"']
    assert await bench.stored() == CONTENT


async def test_an_owner_that_died_before_it_had_an_answer_is_replaced(bench: FillBench) -> None:
    owner = await bench.partials.open(DIGEST)
    route = ScriptedRoute(CONTENT)
    waiting = started(bench.fills.open(DIGEST, route))
    await until(lambda: DIGEST in bench.fills._fills)  # noqa: SLF001 - nothing else shows that it follows
    fill = bench.fills._fills[DIGEST]  # noqa: SLF001 - as above
    await until(lambda: fill.partial is not None)
    assert route.requests == []
    owner.close()
    assert await read(await waiting) == CONTENT
    assert route.requests == [0]


async def test_wrong_bytes_of_the_owner_cut_off_the_followers_clients(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    await read_some(source, 100)
    await owner.abandon(State.FAILED)
    with pytest.raises(TransferError, match="another digest"):
        await read(source)
    with pytest.raises(UpstreamError):
        await bench.fills.open(DIGEST, route)
    assert route.requests == []


async def test_bytes_thrown_away_before_a_client_had_one_are_fetched_anew(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    await owner.abandon(State.GONE)
    owner.close()
    await until(lambda: route.requests)
    assert await read(source) == CONTENT
    assert route.requests == [0]
    assert await bench.stored() == CONTENT


async def test_a_client_that_had_bytes_that_were_thrown_away_goes_on_by_itself_and_verifies(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    await read_some(source, 100)
    await owner.abandon(State.GONE)
    assert await read(source) == CONTENT
    assert route.requests == [6000]
    assert await bench.stored() is None


async def test_a_full_disk_of_the_owner_sends_each_client_on_its_own_way(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    sources = [await bench.fills.open(DIGEST, route) for _ in range(2)]
    reading = [started(read(source)) for source in sources]
    await owner.abandon(State.UNCACHED)
    assert await asyncio.gather(*reading) == [CONTENT] * 2
    assert route.requests == [6000, 6000]


async def hang(bench: FillBench, route: ScriptedRoute) -> None:
    """Let the follower's patience end, as soon as it follows."""
    while not route.requests:
        bench.clock.advance(HUNG)
        await asyncio.sleep(0.001)


async def test_an_owner_that_hangs_is_passed_by(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    reading = started(read(source))
    await hang(bench, route)
    assert await reading == CONTENT
    assert route.requests == [6000]
    later = await bench.fills.open(DIGEST, route)
    assert later.status.bypass
    assert await read(later) == CONTENT
    assert route.requests == [6000, 6000]
    owner.close()


async def test_an_owner_that_hangs_before_it_had_an_answer_is_passed_by(bench: FillBench) -> None:
    owner = await bench.partials.open(DIGEST)
    route = ScriptedRoute(CONTENT)
    waiting = started(bench.fills.open(DIGEST, route))
    await hang(bench, route)
    source = await waiting
    assert source.status.bypass
    assert await read(source) == CONTENT
    assert route.requests == [0]
    owner.close()


async def test_wrong_bytes_of_an_owner_that_hangs_do_not_get_through(bench: FillBench) -> None:
    owner = await bench.partials.open(DIGEST)
    await owner.begin(len(CONTENT), Origin())
    await owner.append([b"?" * 6000])
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    reading = started(read(source))
    await hang(bench, route)
    with pytest.raises(TransferError, match="another digest"):
        await reading
    owner.close()


@pytest.mark.parametrize("good", [True, False])
async def test_an_owner_that_hangs_before_its_commit_is_verified_here(bench: FillBench, good: bool) -> None:  # noqa: FBT001 - a case
    owner = await bench.partials.open(DIGEST)
    await owner.begin(len(CONTENT), Origin())
    await owner.append([CONTENT if good else b"?" * len(CONTENT)])
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    reading = started(read(source))
    while not reading.done():
        bench.clock.advance(HUNG)
        await asyncio.sleep(0.001)
    if good:
        assert await reading == CONTENT
    else:
        with pytest.raises(TransferError, match="another digest"):
            await reading
    assert route.requests == []
    owner.close()


async def test_a_slow_owner_is_not_passed_by(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 1000)
    route = ScriptedRoute(CONTENT)
    source = await bench.fills.open(DIGEST, route)
    reading = started(read(source))
    for start in range(1000, len(CONTENT), 1000):
        bench.clock.advance(40)  # under the 50 seconds that an owner may be silent
        await owner.append([CONTENT[start : start + 1000]])
        fill = bench.fills._fills[DIGEST]  # noqa: SLF001 - nothing else shows that the follower has looked
        seen = start + 1000
        await until(lambda: fill.watermark >= seen)  # noqa: B023 - awaited in the same turn
    await owner.commit()
    assert await reading == CONTENT
    assert route.requests == []


async def test_a_fill_is_shared_again_when_the_hung_owner_has_died(bench: FillBench) -> None:
    owner = await begun_elsewhere(bench, 6000)
    route = ScriptedRoute(CONTENT)
    reading = started(read(await bench.fills.open(DIGEST, route)))
    await hang(bench, route)
    assert await reading == CONTENT
    owner.close()
    await bench.settled()
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    assert await bench.stored() == CONTENT
    assert route.requests == [6000, 6000]


async def test_an_owner_without_a_way_leaves_the_fill_to_a_follower_that_has_one(bench: FillBench) -> None:
    gate = Gate()
    bad = ScriptedRoute(CONTENT, Answer(gates={6000: gate}, breaks=6000), *[Answer(breaks=6000)] * 9)
    good = ScriptedRoute(CONTENT, name="quay nginx")
    owners = await bench.fills.open(DIGEST, bad)
    followers = await bench.process().open(DIGEST, good)
    gate.open()
    assert await read(followers) == CONTENT
    with pytest.raises(TransferError):
        await read(owners)
    assert good.requests == [6000]
    assert await bench.stored() == CONTENT


async def test_a_follower_goes_on_when_the_owner_shuts_down(bench: FillBench) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={6000: gate}))
    async with Tasks() as tasks:
        (await bench.process(tasks).open(DIGEST, route)).close()
        source = await bench.fills.open(DIGEST, route)
        await gate.reached.wait()
    assert await read(source) == CONTENT
    assert route.requests == [0, 6000]
