import asyncio
import hashlib
from datetime import timedelta

import pytest

from proxy.model.digest import Digest
from proxy.model.rule import CacheRule
from proxy.upstream.bandwidth import Bandwidth
from tests.support.clock import FakeClock
from tests.support.upstream_registry import FakeRegistry
from tests.support.upstream_rules import remote_of
from tests.support.upstream_server import UpstreamServer
from tests.unit.upstream.conftest import Opener

REGISTRY = "registry.example.com"
DATA = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(256)) * 128  # 1 MiB


class Time:
    """A sleep that moves the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.slept = 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.clock.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
def bandwidth(clock: FakeClock, time: Time) -> Bandwidth:
    return Bandwidth(clock, time.sleep)


def rule_of(bandwidth: int | None, prefix: str = "up") -> CacheRule:
    return remote_of(REGISTRY, prefix=prefix, bandwidth=bandwidth).rule


async def test_without_a_bandwidth_a_chunk_passes_whole(bandwidth: Bandwidth, time: Time) -> None:
    assert [piece async for piece in bandwidth.pieces(rule_of(None), DATA)] == [DATA]
    assert time.slept == 0


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20])
async def test_pieces_are_the_chunk(bandwidth: Bandwidth, size: int) -> None:
    assert b"".join([piece async for piece in bandwidth.pieces(rule_of(1 << 20), DATA[:size])]) == DATA[:size]


async def test_a_chunk_takes_the_time_of_its_bytes(bandwidth: Bandwidth, time: Time) -> None:
    pieces = [piece async for piece in bandwidth.pieces(rule_of(100_000), DATA)]
    assert time.slept == pytest.approx(len(DATA) / 100_000, abs=0.1)
    assert max(map(len, pieces)) <= 100_000 / 16


async def test_transfers_of_a_rule_share_it_piece_by_piece(clock: FakeClock) -> None:
    order: list[str] = []
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    bandwidth = Bandwidth(clock, sleep)

    async def transfer(name: str) -> None:
        async for _ in bandwidth.pieces(rule_of(1 << 20), DATA[: 4 << 16]):
            order.append(name)
            # Whoever had a piece has had at most two more than the other: the first of all is free.
            assert abs(order.count("a") - order.count("b")) <= 2

    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(transfer(name))
    assert sorted(order) == ["a"] * 4 + ["b"] * 4
    assert waits[-1] == pytest.approx(7 / 16)  # eight pieces of a sixteenth of a second, the first one free


async def test_rules_have_a_bandwidth_each(bandwidth: Bandwidth, time: Time) -> None:
    for prefix in ("a", "b", "c"):
        async for _ in bandwidth.pieces(rule_of(1 << 20, prefix), DATA[: 1 << 16]):
            pass
    assert time.slept == 0


async def test_waiting_for_our_own_bandwidth_is_no_stall_of_the_upstream(
    server: UpstreamServer, connect: Opener, clock: FakeClock, time: Time
) -> None:
    registry = FakeRegistry(server, REGISTRY)
    digest = registry.put_blob(DATA)
    client = await connect(sleep=time.sleep)
    remote = remote_of(REGISTRY, bandwidth=5 << 10)  # below `min_rate`: the upstream is faster than that
    received = b""
    began = clock.monotonic()
    async with client.open_blob(remote, digest) as body:
        async for piece in body.chunks():
            received += piece
    assert Digest.of(received) == digest
    assert clock.monotonic() - began == pytest.approx(len(DATA) / (5 << 10), rel=0.05)


@pytest.mark.parametrize("size", [512 << 10, 8 << 20])  # within what is read ahead, and far beyond it
async def test_a_pause_longer_than_the_stall_timeout_is_ours(
    server: UpstreamServer, connect: Opener, size: int
) -> None:
    registry = FakeRegistry(server, REGISTRY)
    data = DATA * (1 + (size >> 20))
    digest = registry.put_blob(data[:size])
    pauses = 0

    async def sleep(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses <= 3:
            await asyncio.sleep(0.2)

    client = await connect(sleep=sleep, stall_timeout=timedelta(milliseconds=100))
    received = b""
    async with client.open_blob(remote_of(REGISTRY, bandwidth=1 << 20), digest) as body:
        async for piece in body.chunks():
            received += piece
    assert Digest.of(received) == digest
    assert pauses > 3
