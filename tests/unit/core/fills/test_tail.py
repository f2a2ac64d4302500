import asyncio

import pytest

from proxy.core.fills.ports import Origin
from proxy.core.fills.window import WINDOW
from proxy.model.digest import Digest
from tests.support.background import started, until
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute

RANGES = [(0, 1), (0, 10_000), (9_999, 10_000), (3, 9_999), (4_000, 6_000), (0, 0), (10_000, 10_000)]


@pytest.mark.parametrize(("start", "stop"), RANGES)
async def test_a_range_is_the_same_during_a_fill_and_after_it(bench: FillBench, start: int, stop: int) -> None:
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(gates={5000: gate}))
    during = started(read(await bench.fills.open(DIGEST, route), start, stop))
    await gate.reached.wait()
    gate.open()
    assert await during == CONTENT[start:stop]
    await bench.settled()
    assert await read(await bench.fills.open(DIGEST, route), start, stop) == CONTENT[start:stop]
    assert route.requests == [0]


async def test_bytes_come_as_they_arrive(bench: FillBench) -> None:
    gate = Gate()
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={5000: gate})))
    assert await read_some(source, 5000) == CONTENT[:5000]
    gate.open()
    assert await read(source) == CONTENT


async def test_the_last_byte_waits_for_the_digest(bench: FillBench) -> None:
    gate = Gate()
    # All bytes are sent, but the body has not ended: nothing is known of them yet.
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={len(CONTENT): gate})))
    last = started(read(source, len(CONTENT) - 1))
    await gate.reached.wait()
    assert not last.done()
    gate.open()
    assert await last == CONTENT[-1:]
    assert await bench.stored() == CONTENT


async def test_segments_are_no_longer_than_set(bench: FillBench) -> None:
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, chunk=5000))
    sizes = [len(data) async for data in source.stream(0, source.total)]
    assert max(sizes) <= bench.settings.segment
    source.close()


async def test_a_client_that_takes_everything_at_once_lets_others_run(bench: FillBench) -> None:
    # One reader once held the loop for seconds: its writer never had to wait.
    gate = Gate()
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={len(CONTENT): gate})))
    ready = len(CONTENT) - 1000  # the chunk that completes the body waits for its end
    fill = bench.fills._fills[DIGEST]  # noqa: SLF001 - all of it must be at hand
    await until(lambda: fill.watermark >= ready)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = started(other())
    await asyncio.sleep(0)
    before, segments = turns, 0
    async for _ in source.stream(0, ready):
        segments += 1
    running.cancel()
    gate.open()
    assert segments > 10
    assert turns - before >= segments - 1


async def test_a_range_outside_of_the_blob_is_refused(bench: FillBench) -> None:
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))
    with pytest.raises(ValueError, match="not within"):
        await read(source, 0, len(CONTENT) + 1)


async def test_readers_far_behind_the_tip_read_the_partial(bench: FillBench) -> None:
    content = bytes(range(256)) * (2 * WINDOW // 256)
    gate = Gate()
    route = ScriptedRoute(content, Answer(gates={len(content) - 1: gate}), chunk=100_000)
    bench.settings = bench.settings.model_copy(update={"segment": 200_000, "batch": 300_000})
    source = await bench.fills.open(Digest.of(content), route)
    await gate.reached.wait()
    assert await read_some(source, 1_000_000) == content[: len(await read_some(source, 1_000_000))]
    gate.open()
    assert await read(source) == content


async def test_a_source_may_be_streamed_several_times_at_once(bench: FillBench) -> None:
    gate = Gate()
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={5000: gate})))
    streams = [started(read(source, start)) for start in (0, 3000, 9000)]
    await gate.reached.wait()
    gate.open()
    assert await asyncio.gather(*streams) == [CONTENT, CONTENT[3000:], CONTENT[9000:]]


async def test_a_source_may_be_streamed_several_times(bench: FillBench) -> None:
    dead = await bench.partials.open(DIGEST)
    await dead.begin(len(CONTENT), Origin())
    dead.close()
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))
    assert await read_some(source, 3000) == CONTENT[: len(await read_some(source, 3000))]
    assert await read(source) == CONTENT
