import asyncio

import pytest

from proxy.core.fills.ports import Origin, Partial
from proxy.core.sources import TransferError
from proxy.model.digest import Digest
from proxy.model.errors import TRANSIENT, UpstreamError, UpstreamFailure
from tests.support.background import started, until
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_into, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute, broken
from tests.support.slow_partials import SlowPartialStore

WRONG = b"?" * len(CONTENT)


class TestAnUpstreamThatBreaksOff:
    @pytest.mark.parametrize("at", [1, 999, 1000, 5500, len(CONTENT) - 1])
    async def test_is_resumed_where_it_stopped(self, bench: FillBench, at: int) -> None:
        route = ScriptedRoute(CONTENT, Answer(breaks=at))
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == [0, at]
        assert route.validators == ["", '"1"']
        assert route.sent == len(CONTENT)

    @pytest.mark.parametrize("failure", sorted(TRANSIENT))
    async def test_is_resumed_after_every_passing_failure(self, bench: FillBench, failure: UpstreamFailure) -> None:
        route = ScriptedRoute(CONTENT, Answer(breaks=4000, failure=failure), Answer(error=broken(failure)))
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == [0, 4000, 4000]

    async def test_is_resumed_when_it_ends_early_without_an_error(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, Answer(ends=4000))
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == [0, 4000]

    async def test_is_resumed_as_often_as_it_makes_progress(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, *(Answer(breaks=at) for at in range(500, 10_000, 500)))
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == list(range(0, 10_000, 500))

    async def test_is_given_up_after_attempts_without_progress(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, *[Answer(breaks=4000)] * 10)
        source = await bench.fills.open(DIGEST, route)
        with pytest.raises(TransferError):
            await read(source)
        assert route.requests == [0, 4000, 4000]
        assert await bench.stored() is None

    async def test_leaves_its_bytes_for_the_next_client(self, bench: FillBench) -> None:
        with pytest.raises(TransferError):
            await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, *[Answer(breaks=4000)] * 10)))
        route = ScriptedRoute(CONTENT)
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == [4000]

    async def test_may_ignore_the_range_and_start_over(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, Answer(breaks=4321), Answer(start=0))
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == [0, 4321]

    async def test_may_ignore_the_range_and_break_off_before_anything_new(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, Answer(breaks=4321), Answer(start=0, breaks=2000))
        assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
        assert route.requests == [0, 4321, 4321]


class TestAnAnswerThatDoesNotContinue:
    """The bytes are exchanged as long as no client has had one; afterwards that is a failed attempt."""

    CASES = (
        Answer(start=4001),
        Answer(start=3999),
        Answer(total=len(CONTENT) + 1),
        Answer(total=len(CONTENT) - 1),
        Answer(validator='"2"'),
    )

    @pytest.mark.parametrize("answer", CASES)
    async def test_begins_anew_when_no_client_has_had_a_byte(self, bench: FillBench, answer: Answer) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, Answer(breaks=4000), answer, Answer(before=gate))
        source = await bench.fills.open(DIGEST, route)
        await gate.reached.wait()
        gate.open()
        assert await read(source) == CONTENT
        assert route.requests == [0, 4000, 0]

    @pytest.mark.parametrize("answer", CASES)
    async def test_is_repeated_when_a_client_has_had_bytes(self, bench: FillBench, answer: Answer) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, Answer(gates={4000: gate}, breaks=4000), answer)
        source = await bench.fills.open(DIGEST, route)
        await gate.reached.wait()
        reading = started(read(source))
        await until(lambda: bench.fills._fills[DIGEST].served)  # noqa: SLF001 - nothing else shows that a byte was asked for
        gate.open()
        assert await reading == CONTENT
        assert route.requests == [0, 4000, 4000]

    @pytest.mark.parametrize("answer", CASES)
    async def test_cuts_off_a_client_that_has_had_bytes_when_it_stays_so(
        self, bench: FillBench, answer: Answer
    ) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, Answer(gates={4000: gate}, breaks=4000), *[answer] * 10)
        source = await bench.fills.open(DIGEST, route)
        await read_some(source, 1000)
        gate.open()
        with pytest.raises(TransferError):
            await read(source)
        assert await bench.stored() is None

    async def test_is_not_repeated_for_ever(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, *[Answer(breaks=4000), Answer(start=1)] * 10)
        with pytest.raises((UpstreamError, TransferError)):
            await (await bench.fills.open(DIGEST, route)).stream(len(CONTENT) - 1, len(CONTENT)).__anext__()
        assert len(route.requests) < 12

    async def test_comes_from_another_server_with_tags_of_its_own(self, bench: FillBench) -> None:
        gate = Gate()
        first = ScriptedRoute(CONTENT, Answer(gates={4000: gate}, breaks=4000), *[Answer(error=broken())] * 9)
        second = ScriptedRoute(CONTENT, Answer(validator='"other"'), name="quay nginx")
        sources = [await bench.fills.open(DIGEST, route) for route in (first, second)]
        await gate.reached.wait()
        gate.open()
        assert await asyncio.gather(*map(read, sources)) == [CONTENT] * 2
        assert second.requests == [4000]
        assert second.validators == [""]


class TestWrongContent:
    async def test_never_gives_its_last_byte_and_leaves_nothing(self, bench: FillBench) -> None:
        gate = Gate()
        source = await bench.fills.open(DIGEST, ScriptedRoute(WRONG, Answer(gates={len(WRONG): gate})))
        got = bytearray()
        reading = started(read_into(got, source))
        gate.open()
        with pytest.raises(TransferError, match="another digest"):
            await reading
        assert len(got) < len(WRONG)
        source.close()
        await bench.settled()
        assert await bench.stored() is None
        assert bench.partials.partials == {}
        assert bench.metric("pullthrough_verify_failures_total", rule="hub") == 1

    async def test_cuts_off_every_client(self, bench: FillBench) -> None:
        gate = Gate()
        route = ScriptedRoute(WRONG, Answer(gates={5000: gate}))
        sources = [await bench.fills.open(DIGEST, route) for _ in range(5)]
        reading = [started(read(source)) for source in sources]
        gate.open()
        results = await asyncio.gather(*reading, return_exceptions=True)
        assert [type(result) for result in results] == [TransferError] * 5

    async def test_does_not_hold_back_a_range_before_the_last_byte(self, bench: FillBench) -> None:
        gate = Gate()
        source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={9000: gate})))
        assert await read(source, 100, 8999) == CONTENT[100:8999]
        gate.open()

    async def test_of_a_body_that_runs_over_is_never_kept(self, bench: FillBench) -> None:
        # The bytes up to the announced length are the right ones: a proxy that stops reading there stores them.
        route = ScriptedRoute(CONTENT, *[Answer(data=CONTENT + b"more", total=len(CONTENT))] * 10)
        with pytest.raises((UpstreamError, TransferError)):
            await read(await bench.fills.open(DIGEST, route))
        await bench.settled()
        assert await bench.stored() is None

    async def test_of_a_body_that_is_always_short_is_never_kept(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT[:-5], *[Answer(total=len(CONTENT))] * 10)
        with pytest.raises(TransferError):
            await read(await bench.fills.open(DIGEST, route))
        assert await bench.stored() is None


class TestSeveralRoutes:
    @pytest.mark.parametrize(
        "failure",
        [
            UpstreamFailure.DENIED,
            UpstreamFailure.CREDENTIALS_REFUSED,
            UpstreamFailure.NOT_FOUND,
            UpstreamFailure.OFFLINE,
        ],
    )
    async def test_the_next_waiter_continues_by_its_own(self, bench: FillBench, failure: UpstreamFailure) -> None:
        gate = Gate()
        refused = ScriptedRoute(CONTENT, Answer(before=gate, error=broken(failure)))
        first = started(bench.fills.open(DIGEST, refused))
        await gate.reached.wait()
        good = ScriptedRoute(CONTENT, name="quay nginx")
        second = started(bench.fills.open(DIGEST, good))
        await asyncio.sleep(0)
        gate.open()
        assert await read(await second) == CONTENT
        # What its own upstream refused, a client does not get through somebody else's account.
        with pytest.raises(UpstreamError) as error:
            await first
        assert error.value.failure is failure
        assert (refused.requests, good.requests) == ([0], [0])

    async def test_a_client_that_already_has_bytes_goes_on_by_the_next(self, bench: FillBench) -> None:
        gate = Gate()
        first = ScriptedRoute(
            CONTENT, Answer(gates={4000: gate}, breaks=4000), Answer(error=broken(UpstreamFailure.DENIED))
        )
        second = ScriptedRoute(CONTENT, name="quay nginx")
        sources = [await bench.fills.open(DIGEST, route) for route in (first, second)]
        reading = [started(read(source)) for source in sources]
        gate.open()
        assert await asyncio.gather(*reading) == [CONTENT] * 2
        assert second.requests == [4000]

    async def test_an_error_is_told_when_no_route_is_left(self, bench: FillBench) -> None:
        route = ScriptedRoute(CONTENT, Answer(error=broken(UpstreamFailure.NOT_FOUND)))
        with pytest.raises(UpstreamError) as error:
            await bench.fills.open(DIGEST, route)
        assert error.value.failure is UpstreamFailure.NOT_FOUND
        await bench.settled()
        assert bench.partials.partials == {}

    async def test_an_upstream_that_does_not_answer_is_told_at_once(self, bench: FillBench) -> None:
        # The upstream client has used up its time for repeats, and the client's, already.
        route = ScriptedRoute(CONTENT, Answer(error=broken()))
        with pytest.raises(UpstreamError):
            await bench.fills.open(DIGEST, route)
        assert route.requests == [0]

    async def test_the_same_route_is_not_tried_for_each_of_its_clients(self, bench: FillBench) -> None:
        gate = Gate()
        route = ScriptedRoute(CONTENT, *[Answer(before=gate, error=broken(UpstreamFailure.DENIED))] * 9)
        waiting = [started(bench.fills.open(DIGEST, route)) for _ in range(5)]
        await gate.reached.wait()
        gate.open()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [UpstreamError] * 5
        assert route.requests == [0]


async def test_a_slow_disk_pauses_the_download(bench: FillBench) -> None:
    gate = Gate()
    content = bytes(100_000)
    digest = Digest.of(content)
    route = ScriptedRoute(content)
    fills = bench.process(partials=SlowPartialStore(bench, gate))
    source = await fills.open(digest, route)
    await gate.reached.wait()
    for _ in range(200):  # far more turns of the loop than the download needs for all of it
        await asyncio.sleep(0)
    batch = bench.settings.batch
    assert route.sent <= 6 * batch
    gate.open()
    assert await read(source) == content


async def test_a_long_prefix_is_hashed_again_beside_the_resumed_download(bench: FillBench) -> None:
    # Two consumers of the hash's queue once gave one wrong digest in six take-overs.
    content = bytes(range(256)) * 12_000
    digest = Digest.of(content)
    cut = len(content) // 2 + 17
    dead: Partial = await bench.partials.open(digest)
    await dead.begin(len(content), Origin())
    await dead.append([content[:cut]])
    dead.close()
    route = ScriptedRoute(content, chunk=40_000)
    assert await read(await bench.fills.open(digest, route)) == content
    assert route.requests == [cut]
    assert await bench.stored(digest) == content
