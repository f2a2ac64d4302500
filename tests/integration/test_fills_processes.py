"""Fills of several real processes over one folder: one request for all of them, whoever dies or hangs."""

import asyncio
import hashlib
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.model.digest import Digest
from proxy.storage.layout import Layout
from tests.support.background import started, until
from tests.support.range_server import RangeServer, serving

MIB = 1 << 20
PATIENT = 300.0
"""Seconds: no process is passed by in a test in which none hangs."""


class Worker:
    """A worker process and the clients it has."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._events: dict[tuple[int, str], asyncio.Future[dict[str, Any]]] = {}
        self._orders = 0
        self._reading = started(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if line.startswith(b"{"):
                message = json.loads(line)
                self._event(message["id"], message["event"]).set_result(message)

    def _event(self, number: int, event: str) -> asyncio.Future[dict[str, Any]]:
        return self._events.setdefault((number, event), asyncio.get_running_loop().create_future())

    async def wait(self, number: int, event: str) -> dict[str, Any]:
        """Return the message `event` of a client; fail where the client, or the process, ends without it."""
        wanted, failed = self._event(number, event), self._event(number, "failed")
        ends: set[asyncio.Future[Any]] = {wanted, failed, self._reading}
        await asyncio.wait(ends, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert wanted.done(), f"no {event}: {failed.result() if failed.done() else 'the process has ended or hangs'}"
        return wanted.result()

    def client(
        self,
        digest: Digest,
        start: int = 0,
        stop: int | None = None,
        tell: int | None = None,
        *,
        parallel: int = 1,
        size: int | None = None,
    ) -> int:
        """Let a client read a range; return its number."""
        self._orders += 1
        order: dict[str, Any] = {"id": self._orders, "digest": str(digest), "start": start, "stop": stop, "tell": tell}
        order |= {"parallel": parallel, "size": size}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return self._orders

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


Start = Callable[..., Any]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
async def upstream() -> AsyncIterator[RangeServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def start(layout: Layout, upstream: RangeServer) -> AsyncIterator[Start]:
    """Start worker processes; all are ended after the test."""
    workers: list[Worker] = []

    async def start(patience: float = PATIENT) -> Worker:
        script = Path(__file__).with_name("fills_worker.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            str(layout.root),
            upstream.url,
            str(patience),
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        worker = Worker(process)
        workers.append(worker)
        await worker.wait(0, "ready")
        return worker

    yield start
    for worker in workers:
        await worker.kill()


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same bytes in each run


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def leftovers(layout: Layout) -> list[Path]:
    return [path for path in layout.fills.rglob("*") if path.is_file()]


async def test_one_request_for_all_clients_of_all_processes(
    start: Start, upstream: RangeServer, layout: Layout
) -> None:
    blob = seeded(1).randbytes(8 * MIB)
    digest = upstream.add(blob)
    workers = await asyncio.gather(*(start() for _ in range(4)))
    clients = [(worker, worker.client(digest)) for worker in workers for _ in range(8)]
    ranged = [(worker, worker.client(digest, 3 * MIB, 5 * MIB)) for worker in workers]
    assert {(await worker.wait(client, "done"))["sha256"] for worker, client in clients} == {digest.encoded}
    assert {(await worker.wait(client, "done"))["sha256"] for worker, client in ranged} == {
        sha256(blob[3 * MIB : 5 * MIB])
    }
    assert upstream.requests == [(str(digest), 0)]
    assert upstream.sent == len(blob)
    assert layout.blob(digest).read_bytes() == blob
    assert leftovers(layout) == []


async def test_small_blobs_are_fetched_once_each(start: Start, upstream: RangeServer, layout: Layout) -> None:
    # Small blobs are committed between another process's look and its lock: one in nine was fetched twice.
    numbers = seeded(2)
    digests = [upstream.add(numbers.randbytes(numbers.randrange(0, 3000))) for _ in range(150)]
    workers = await asyncio.gather(*(start() for _ in range(3)))
    clients = [(worker, worker.client(digest), digest) for digest in digests for worker in workers for _ in range(2)]
    for worker, client, digest in clients:
        assert (await worker.wait(client, "done"))["sha256"] == digest.encoded
    assert sorted(upstream.requests) == sorted((str(digest), 0) for digest in digests)
    assert leftovers(layout) == []


@pytest.mark.parametrize("seed", range(4))
async def test_another_process_goes_on_when_the_owner_is_killed(
    start: Start, upstream: RangeServer, layout: Layout, seed: int
) -> None:
    numbers = seeded(seed)
    blob = numbers.randbytes(16 * MIB)
    digest = upstream.add(blob)
    held = numbers.randrange(2 * MIB, 14 * MIB)
    upstream.turn(held)
    owner, follower = await start(), await start()
    owner_client = owner.client(digest, tell=numbers.randrange(1, held - MIB))
    await owner.wait(owner_client, "opened")
    ranges = [(0, None), (5 * MIB, None), (MIB, 15 * MIB), (len(blob) - 100, None)]
    clients = [(follower.client(digest, first, last), first, last) for first, last in ranges]
    for client, _, _ in clients:
        assert (await follower.wait(client, "opened"))["outcome"] == "collapsed"
    await owner.wait(owner_client, "reached")
    await owner.kill()
    upstream.turn(None)
    for client, first, last in clients:
        assert (await follower.wait(client, "done"))["sha256"] == sha256(blob[first:last])
    (_, begun), (_, resumed) = upstream.requests
    assert begun == 0
    assert 0 < resumed <= held
    assert upstream.sent <= len(blob) + held - resumed
    assert layout.blob(digest).read_bytes() == blob
    assert leftovers(layout) == []


async def test_a_new_process_goes_on_when_all_were_killed(start: Start, upstream: RangeServer, layout: Layout) -> None:
    blob = seeded(3).randbytes(8 * MIB)
    digest = upstream.add(blob)
    upstream.turn(5 * MIB)
    for _ in range(2):  # killed again after the first take-over
        worker = await start()
        await worker.wait(worker.client(digest, tell=4 * MIB), "reached")
        await worker.kill()
    assert leftovers(layout) != []
    upstream.turn(None)
    worker = await start()
    assert (await worker.wait(worker.client(digest), "done"))["sha256"] == digest.encoded
    assert upstream.requests[0] == (str(digest), 0)
    assert all(begun >= 4 * MIB for _, begun in upstream.requests[1:])
    assert leftovers(layout) == []


async def test_a_process_that_hangs_is_passed_by_and_goes_on_later(
    start: Start, upstream: RangeServer, layout: Layout
) -> None:
    blob = seeded(4).randbytes(8 * MIB)
    digest = upstream.add(blob)
    upstream.turn(3 * MIB)
    owner, follower = await start(), await start(0.1)
    owner_client = owner.client(digest, tell=2 * MIB)
    await owner.wait(owner_client, "reached")
    owner.send_signal(signal.SIGSTOP)
    try:
        client = follower.client(digest)
        upstream.turn(None)
        assert (await follower.wait(client, "done"))["sha256"] == digest.encoded
    finally:
        owner.send_signal(signal.SIGCONT)
    assert (await owner.wait(owner_client, "done"))["sha256"] == digest.encoded
    assert layout.blob(digest).read_bytes() == blob
    assert leftovers(layout) == []


@pytest.mark.parametrize("seed", range(3))
async def test_a_parallel_fill_of_a_killed_process_is_gone_on_from_its_watermark(
    start: Start, upstream: RangeServer, layout: Layout, seed: int
) -> None:
    numbers = seeded(10 + seed)
    blob = numbers.randbytes(24 * MIB)
    digest = upstream.add(blob)
    upstream.held = held = numbers.randrange(2 * MIB, 10 * MIB)  # one piece stops there, others go on ahead of it
    owner, follower = await start(), await start()
    owner_client = owner.client(digest, tell=held - MIB, parallel=4, size=len(blob))
    await owner.wait(owner_client, "reached")
    # Two pieces a connection are written ahead of the one that is held; the file is sparse there.
    ahead = min(len(blob), (held // MIB + 8) * MIB)
    await until(lambda: upstream.sent >= ahead - MIB)
    clients = [(follower.client(digest, at, parallel=4, size=len(blob)), at) for at in (0, 13 * MIB)]
    for client, _ in clients:
        assert (await follower.wait(client, "opened"))["outcome"] == "collapsed"
    before = len(upstream.requests)
    await owner.kill()
    upstream.turn(None)
    for client, at in clients:
        assert (await follower.wait(client, "done"))["sha256"] == sha256(blob[at:])
    resumed = [at for _, at in upstream.requests[before:]]
    assert held - 2 * MIB < min(resumed) <= held
    assert len(resumed) == len(set(resumed)) == -((min(resumed) - len(blob)) // MIB)
    assert layout.blob(digest).read_bytes() == blob
    assert leftovers(layout) == []


async def test_a_parallel_fill_for_all_processes_asks_for_each_byte_once(
    start: Start, upstream: RangeServer, layout: Layout
) -> None:
    blob = seeded(20).randbytes(16 * MIB)
    digest = upstream.add(blob)
    workers = await asyncio.gather(*(start() for _ in range(3)))
    clients = [(worker, worker.client(digest, parallel=4, size=len(blob))) for worker in workers for _ in range(6)]
    for worker, client in clients:
        assert (await worker.wait(client, "done"))["sha256"] == digest.encoded
    assert sorted(at for _, at in upstream.requests) == list(range(0, len(blob), MIB))
    assert upstream.sent == len(blob)
    assert leftovers(layout) == []
