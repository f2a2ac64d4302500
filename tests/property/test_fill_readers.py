"""Any number of readers with any ranges, whatever the upstream does: each gets the bytes of its range."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.core.sources import BlobSource
from proxy.model.digest import Digest
from tests.support.background import started
from tests.support.clock import FakeClock
from tests.support.fills import FillBench
from tests.support.routes import Answer, Gate, ScriptedRoute

SIZE = 6000
PIECE = 1000
CONTENT = bytes((index * 31 + index // 256) % 256 for index in range(SIZE))
DIGEST = Digest.of(CONTENT)


class Reader:
    """A client that reads one range and keeps what it got."""

    def __init__(self, source: BlobSource, start: int, stop: int) -> None:
        self.source = source
        self.start, self.stop = start, stop
        self.got = b""

    async def run(self) -> None:
        stream = cast("AsyncGenerator[bytes, None]", self.source.stream(self.start, self.stop))
        async with aclosing(stream):
            async for data in stream:
                self.got += data


class Readers(RuleBasedStateMachine):
    """Upstream answers break off and are held back; readers of several processes come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.readers: list[tuple[Reader, asyncio.Task[None]]] = []
        self.gates: list[Gate] = []

    @initialize(
        breaks=st.lists(st.integers(1, SIZE - 1), max_size=4, unique=True),
        gates=st.lists(st.integers(0, SIZE), max_size=4),
        full=st.none() | st.integers(0, SIZE),
        chunk=st.integers(50, 3000),
        parallel=st.integers(1, 5),
        ignored=st.lists(st.integers(0, SIZE // PIECE), max_size=2),
    )
    def begin(
        self,
        breaks: list[int],
        gates: list[int],
        full: int | None,
        chunk: int,
        parallel: int,
        ignored: list[int],
    ) -> None:
        self.gates = [Gate() for _ in gates]
        held = dict(zip(gates, self.gates, strict=True))
        answers = [Answer(breaks=at, gates=held) for at in sorted(breaks)] + [Answer(gates=held)] * 3
        whole = {piece * PIECE: [Answer(start=0)] for piece in ignored}  # there the upstream ignores ranges
        self.route = ScriptedRoute(CONTENT, *answers, chunk=chunk, parallel=parallel, at=whole)
        self.bench = FillBench(FakeClock())
        if full is not None:
            self.bench.partials.capacity = full
        self.run(self.bench.__aenter__())
        self.processes = [self.bench.process() for _ in range(2)]

    def run(self, work: Any) -> Any:  # noqa: ANN401 - whatever the coroutine returns
        return self.runner.run(work)

    @rule(process=st.integers(0, 1), start=st.integers(0, SIZE), length=st.integers(0, SIZE))
    def come(self, process: int, start: int, length: int) -> None:
        stop = min(SIZE, start + length)

        async def join() -> None:
            opening = started(self.processes[process].open(DIGEST, self.route, size=SIZE))
            while not opening.done():
                for gate in self.gates:  # where even the headers of an answer of its own are held back
                    gate.open()
                await asyncio.sleep(0)
            reader = Reader(await opening, start, stop)
            self.readers.append((reader, started(reader.run())))

        self.run(join())

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.readers) - 1))
        reader, task = self.readers.pop(index)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            reader.source.close()

        self.run(stop())

    @precondition(lambda self: self.gates)
    @rule()
    def let_on(self) -> None:
        async def opened() -> None:
            self.gates.pop(0).open()
            for _ in range(20):
                await asyncio.sleep(0)

        self.run(opened())

    @invariant()
    def what_was_read_is_right(self) -> None:
        for reader, _ in self.readers:
            assert reader.got == CONTENT[reader.start : reader.stop][: len(reader.got)]

    def teardown(self) -> None:
        async def finish() -> None:
            for gate in self.gates:
                gate.open()
            for reader, task in self.readers:
                await asyncio.wait_for(task, 30)
                assert reader.got == CONTENT[reader.start : reader.stop]
                reader.source.close()
            await self.bench.settled()
            assert self.bench.partials.partials == {}
            assert await self.bench.stored() in {None, CONTENT}
            await self.bench.__aexit__(None, None, None)

        try:
            if hasattr(self, "bench"):
                self.run(finish())
        finally:
            self.runner.close()


TestReaders = Readers.TestCase
TestReaders.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
