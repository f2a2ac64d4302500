"""Blobs while they are on their way: shared by clients, read in chunks, broken off on either side."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.emulators import BearerEmulator, Gate, Kubernetes, Route
from tests.emulators import faults as fault
from tests.integration.scenarios.bench import Bench
from tests.integration.scenarios.product import sha256
from tests.support.background import started

CLIENTS = 20


def whole_range(start: int, size: int) -> str:
    return f"bytes {start}-{size - 1}/{size}"


async def test_twenty_cold_clients_cost_one_transfer_whoever_leaves(bench: Bench) -> None:
    blob = bench.public.big_blob
    gate = Gate()
    bench.emulator.faults.add(fault.stall(blob.size // 2, gate), route=Route.STORAGE)
    path = bench.path("blobs", blob.digest)
    async with AsyncExitStack() as first, AsyncExitStack() as others:
        answers = [await first.enter_async_context(bench.registry.open(path))]
        # All have their headers while half of the bytes are missing: they share what is under way.
        answers += await asyncio.gather(
            *(others.enter_async_context(bench.registry.open(path)) for _ in range(CLIENTS - 1))
        )
        await gate.reached.wait()
        tenth = await answers[1].content.readexactly(blob.size // 10)
        answers[1].close()
        await first.aclose()  # who began the transfer leaves
        gate.open()
        received = await asyncio.gather(*(answer.read() for answer in answers[2:]))
    assert tenth == blob.read(0, len(tenth))
    assert {sha256(each) for each in received} == {str(blob.digest)}
    assert {answer.status for answer in answers} == {200}
    assert len(bench.transfers(blob.digest)) == 1
    assert len(bench.asked(Route.BLOB, "GET", blob.digest)) == 1
    await bench.product.settle()
    assert await bench.is_kept(blob.digest)


async def test_containerds_chunks_are_exact_parts_of_one_transfer(bench: Bench) -> None:
    blob = bench.public.big_blob
    size, count = blob.size, 8
    chunk = size // count
    gate = Gate()
    bench.emulator.faults.add(fault.stall(size // 2, gate), route=Route.STORAGE)
    path = bench.path("blobs", blob.digest)

    async def read(number: int) -> bytes:
        # Open-ended, and hung up after the chunk: neither is a reason to begin another transfer.
        async with bench.registry.open(path, ("Range", f"bytes={number * chunk}-")) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == whole_range(number * chunk, size)
            return await answer.content.readexactly(chunk)

    async with bench.registry.open(path, ("Range", "bytes=0-")) as probe:
        assert (probe.status, probe.headers["Content-Range"]) == (206, whole_range(0, size))
        await gate.reached.wait()
        chunks = [started(read(number)) for number in range(count)]
        early = await chunks[0], await chunks[1]
        assert early == (blob.read(0, chunk), blob.read(chunk, 2 * chunk))
        gate.open()
        assert sha256(b"".join([await each for each in chunks])) == str(blob.digest)
    again = await bench.blob(blob.digest, ("Range", f"bytes={chunk}-"))
    assert (again.status, again.headers["Content-Range"]) == (206, whole_range(chunk, size))
    assert again.body == blob.read(chunk, size)
    assert len(bench.transfers(blob.digest)) == 1


async def test_a_client_that_was_cut_off_resumes_while_the_transfer_goes_on(bench: Bench) -> None:
    blob = bench.public.big_blob
    middle = blob.size // 2
    gate = Gate()
    bench.emulator.faults.add(fault.stall(middle, gate), route=Route.STORAGE)
    path = bench.path("blobs", blob.digest)
    async with bench.registry.open(path) as answer:
        got = await answer.content.readexactly(1000)
        answer.close()
    await gate.reached.wait()
    async with bench.registry.open(path, ("Range", f"bytes={len(got)}-")) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (206, whole_range(1000, blob.size))
        gate.open()
        got += await answer.read()
    assert sha256(got) == str(blob.digest)
    assert len(bench.transfers(blob.digest)) == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_a_transfer_that_the_upstream_breaks_off_is_resumed_unseen(bench: Bench, *, reset: bool) -> None:
    blob = bench.public.big_blob
    bench.emulator.faults.add(fault.truncated(blob.size // 2, reset=reset), route=Route.STORAGE)
    answered = await bench.blob(blob.digest)
    assert (answered.status, answered.whole) == (200, True)
    assert sha256(answered.body) == str(blob.digest)
    first, second = bench.transfers(blob.digest)
    # After a reset the first bytes may not have arrived at all; what did is not asked for again.
    assert second.request.headers.get("Range", "bytes=0-").startswith("bytes=")
    if not reset:
        assert (first.sent, second.sent) == (blob.size // 2, blob.size - blob.size // 2)
    assert not bench.emulator.leaks()


async def test_a_link_that_expired_in_the_middle_is_replaced(bench: Bench) -> None:
    blob, emulator = bench.public.big_blob, bench.emulator
    half = blob.size // 2
    if isinstance(emulator, Kubernetes):
        emulator.outside_s3.add(str(blob.digest))  # the bucket's links never expire

    def expire() -> None:
        bench.product.clock.advance(13 * 3600)

    emulator.faults.add(fault.at_byte(half, expire), route=Route.STORAGE)
    emulator.faults.add(fault.truncated(half), route=Route.STORAGE)
    if not isinstance(emulator, BearerEmulator) and emulator.kind == "ecr":
        expired = await bench.blob(blob.digest)
        # The password has expired as well, and this rule has a fixed one: the client learns by a body cut short.
        assert (expired.status, expired.whole) == (200, False)
        return
    answered = await bench.blob(blob.digest)
    assert sha256(answered.body) == str(blob.digest)
    assert len(bench.asked(Route.BLOB, "GET", blob.digest)) == 2
    assert not emulator.leaks()


async def test_wrong_bytes_end_short_leave_nothing_and_are_right_next_time(bench: Bench) -> None:
    blob = bench.public.big_blob
    bench.emulator.faults.add(fault.wrong_bytes(blob.size - 10), route=Route.STORAGE)
    spoilt = await bench.blob(blob.digest)
    assert (spoilt.status, spoilt.whole) == (200, False)
    assert len(spoilt.body) < blob.size
    await bench.product.settle()
    assert not await bench.is_kept(blob.digest)
    at_once = await bench.blob(blob.digest)
    assert (at_once.status, at_once.code) == (502, "UPSTREAM_INVALID")
    bench.product.clock.advance(11)
    assert sha256((await bench.blob(blob.digest)).body) == str(blob.digest)
    assert await bench.is_kept(blob.digest)
    assert len(bench.transfers(blob.digest)) == 2


async def test_an_upstream_that_goes_away_for_good_ends_the_answer_short(bench: Bench) -> None:
    blob = bench.public.big_blob
    half = blob.size // 2
    faults = bench.emulator.faults

    def break_down() -> None:
        faults.add(fault.status(503), times=None)

    faults.add(fault.at_byte(half, break_down), route=Route.STORAGE)
    faults.add(fault.truncated(half), route=Route.STORAGE)
    path = bench.path("blobs", blob.digest)
    async with bench.registry.open(path) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await bench.product.settle()
    assert not await bench.is_kept(blob.digest)
    faults.clear()
    bench.product.clock.advance(120)
    # What came before was kept aside: only the rest is transferred.
    assert sha256((await bench.blob(blob.digest)).body) == str(blob.digest)
    assert bench.transfers(blob.digest)[-1].sent < blob.size
