"""Turns at a rate. Time passes only where somebody sleeps."""

import asyncio

import pytest
from yarl import URL

from proxy.core.buckets import Bucket
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import Remote
from proxy.upstream.deadline import Deadline
from proxy.upstream.pacing import Pacer
from proxy.upstream.query import Kind, Query, Weight
from tests.support.clock import FakeClock
from tests.support.upstream_rules import remote_of

ACCOUNT = UserPassword("alice", SecretSource(env="X"))
GENERIC = remote_of("registry.example.com", requests_per_second=2.0)
PUBLIC = remote_of("public.ecr.aws")


class Turns:
    """A sleep that notes how long each waits, and lets nobody on before `go`."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.go = asyncio.Event()
        self.go.set()

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.go.wait()


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def pacer(clock: FakeClock, turns: Turns) -> Pacer:
    return Pacer(clock, turns.sleep)


def query_of(remote: Remote, kind: Kind = Kind.MANIFEST, method: str = "GET", weight: Weight = Weight.LIGHT) -> Query:
    return Query(remote, kind, method, URL("https://registry.example.com/v2/"), "it", weight=weight)


async def admit(pacer: Pacer, query: Query, times: int, seconds: float = 60) -> None:
    for _ in range(times):
        await pacer.admit(query, Deadline(seconds))


class TestBucket:
    def test_a_burst_is_free_and_the_rest_waits_its_turn(self, clock: FakeClock) -> None:
        bucket = Bucket(2, 3, clock)
        assert [bucket.take() for _ in range(6)] == [0, 0, 0, 0.5, 1.0, 1.5]

    def test_what_was_not_used_is_saved_up_to_the_burst(self, clock: FakeClock) -> None:
        bucket = Bucket(1, 2, clock)
        assert [bucket.take() for _ in range(3)] == [0, 0, 1]
        clock.advance(1000)
        assert bucket.is_idle
        assert [bucket.take() for _ in range(3)] == [0, 0, 1]

    def test_asking_takes_nothing(self, clock: FakeClock) -> None:
        bucket = Bucket(1, 1, clock)
        bucket.take()
        assert [bucket.wait(), bucket.wait()] == [1, 1]

    def test_the_last_turn_can_be_given_back(self, clock: FakeClock) -> None:
        bucket = Bucket(1, 1, clock)
        bucket.take()
        first, turn = bucket.take(), bucket.last_turn
        bucket.give_back(turn)
        assert bucket.take() == first

    def test_a_turn_before_others_is_lost(self, clock: FakeClock) -> None:
        bucket = Bucket(1, 1, clock)
        bucket.take()
        turn = bucket.last_turn
        bucket.take()
        bucket.give_back(turn)
        assert bucket.wait() == 2


async def test_the_rate_of_the_rule_counts_every_request(pacer: Pacer, turns: Turns) -> None:
    for kind, method in ((Kind.MANIFEST, "HEAD"), (Kind.BLOB, "GET"), (Kind.TAGS, "GET"), (Kind.TOKEN, "GET")):
        await admit(pacer, query_of(GENERIC, kind, method), 1)
    assert turns.waits == [0.5, 1.0]


async def test_a_registry_of_no_known_limit_is_not_paced(pacer: Pacer, turns: Turns) -> None:
    await admit(pacer, query_of(remote_of("registry.example.com")), 1000)
    assert turns.waits == []


async def test_ecr_public_counts_pulls_only(pacer: Pacer, turns: Turns) -> None:
    await admit(pacer, query_of(PUBLIC, Kind.BLOB), 20)
    await admit(pacer, query_of(PUBLIC, Kind.TAGS), 20)
    await admit(pacer, query_of(PUBLIC, method="HEAD"), 20)
    assert turns.waits == []
    await admit(pacer, query_of(PUBLIC), 3)
    assert turns.waits == [1, 2]


async def test_an_account_at_ecr_public_may_ask_more(pacer: Pacer, turns: Turns) -> None:
    await admit(pacer, query_of(remote_of("public.ecr.aws", credentials=ACCOUNT)), 11)
    assert turns.waits == [pytest.approx(0.1)]


async def test_a_rule_may_be_faster_than_its_kind(pacer: Pacer, turns: Turns) -> None:
    await admit(pacer, query_of(remote_of("public.ecr.aws", requests_per_second=50.0)), 50)
    assert turns.waits == []


async def test_rules_for_one_account_share_its_rate_and_accounts_do_not(pacer: Pacer, turns: Turns) -> None:
    first, second = (remote_of("public.ecr.aws", prefix=prefix) for prefix in ("a", "b"))
    await admit(pacer, query_of(first), 1)
    await admit(pacer, query_of(remote_of("public.ecr.aws", credentials=ACCOUNT)), 1)
    assert turns.waits == []
    await admit(pacer, query_of(second), 1)
    assert turns.waits == [1]


async def test_a_request_that_could_not_begin_in_time_is_refused_at_once(pacer: Pacer, turns: Turns) -> None:
    await admit(pacer, query_of(PUBLIC), 3)
    with pytest.raises(UpstreamError) as caught:
        await admit(pacer, query_of(PUBLIC), 1, seconds=2.5)
    assert caught.value.failure is UpstreamFailure.OVERLOADED
    assert caught.value.retry_after == 3
    assert "`requests_per_second`" in caught.value.message
    assert turns.waits == [1, 2]
    await admit(pacer, query_of(PUBLIC), 1, seconds=60)
    assert turns.waits == [1, 2, 3]  # who was refused took nobody's turn


async def test_the_wait_for_a_connection_counts_too(pacer: Pacer) -> None:
    for remote in (PUBLIC, remote_of("registry.example.com")):
        with pytest.raises(UpstreamError) as caught:
            await pacer.admit(query_of(remote), Deadline(20), busy=30.5)
        assert (caught.value.failure, caught.value.retry_after) == (UpstreamFailure.OVERLOADED, 31)


@pytest.mark.parametrize("weight", [Weight.BULK, Weight.CARRIED])
async def test_a_transfer_waits_as_long_as_it_must_without_using_up_its_time(clock: FakeClock, weight: Weight) -> None:
    async def sleep(_: float) -> None:
        await asyncio.sleep(0.2)

    pacer, deadline = Pacer(clock, sleep), Deadline(0.1)
    await admit(pacer, query_of(GENERIC, Kind.BLOB), 2)
    await pacer.admit(query_of(GENERIC, Kind.BLOB, weight=weight), deadline)
    assert deadline.remaining() > 0


async def test_turns_come_in_the_order_of_asking(pacer: Pacer, turns: Turns) -> None:
    turns.go.clear()
    await admit(pacer, query_of(PUBLIC), 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(admit(pacer, query_of(PUBLIC), 1))
            await asyncio.sleep(0)
        assert turns.waits == [1, 2, 3, 4, 5]
        turns.go.set()


async def test_who_leaves_the_queue_last_gives_the_turn_back(pacer: Pacer, turns: Turns) -> None:
    turns.go.clear()
    await admit(pacer, query_of(PUBLIC), 1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(admit(pacer, query_of(PUBLIC), 1))
        await asyncio.sleep(0)
        waiting.cancel()
    turns.go.set()
    await admit(pacer, query_of(PUBLIC), 1)
    assert turns.waits == [1, 1]


async def test_the_queue_of_transfers_is_bounded(pacer: Pacer, turns: Turns) -> None:
    turns.go.clear()
    transfer = query_of(GENERIC, Kind.BLOB, weight=Weight.BULK)
    async with asyncio.TaskGroup() as group:
        for _ in range(2 + 1024):
            group.create_task(admit(pacer, transfer, 1))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamError) as caught:
            await pacer.admit(transfer, Deadline(60))
        turns.go.set()
    assert caught.value.failure is UpstreamFailure.OVERLOADED
    assert caught.value.retry_after == pytest.approx(513, abs=1)


async def test_memory_of_many_accounts_is_bounded(pacer: Pacer, clock: FakeClock, turns: Turns) -> None:
    for number in range(3000):
        await admit(pacer, query_of(remote_of(f"r{number}.example.com", requests_per_second=1.0)), 1)
        clock.advance(2)
    await admit(pacer, query_of(remote_of("r0.example.com", requests_per_second=1.0)), 1)
    assert turns.waits == []
