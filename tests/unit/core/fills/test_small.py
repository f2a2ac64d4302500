"""Small blobs: written at once where all of it comes in a moment, and as any other where it does not."""

import asyncio

import pytest
from pydantic import ByteSize
from structlog.testing import capture_logs

from proxy.core.fills.ports import Origin, State
from proxy.core.ports import StorageFullError
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.storage.partials import MemoryPartialStore
from proxy.storage.partials.memory import MemoryPartial
from tests.support.background import started
from tests.support.clock import FakeClock
from tests.support.fills import CONTENT, DIGEST, FillBench, read, read_some
from tests.support.routes import Answer, Gate, ScriptedRoute

EMPTY = Digest.of(b"")


class WatchedPartialStore(MemoryPartialStore):
    """A store that notes what is called, and whose calls named in `full` find no room."""

    def __init__(self, bench: FillBench) -> None:
        super().__init__(bench.blobs)
        self.calls: list[str] = []
        self.full: set[str] = set()

    async def open(self, digest: Digest) -> MemoryPartial:
        partial = await super().open(digest)
        return WatchedPartial(partial, self) if partial.state is State.OWNED else partial

    def note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.full:
            raise StorageFullError("the store is full")


class WatchedPartial(MemoryPartial):
    def __init__(self, partial: MemoryPartial, store: WatchedPartialStore) -> None:
        self.__dict__.update(partial.__dict__)
        self.watched = store

    async def begin(self, total: int, origin: Origin) -> None:
        self.watched.note("begin")
        await super().begin(total, origin)

    async def append(self, chunks: list[bytes]) -> None:  # type: ignore[override] # the test has only lists
        self.watched.note("append")
        await super().append(chunks)

    async def commit(self) -> None:
        self.watched.note("commit")
        await super().commit()

    async def store(self, total: int, origin: Origin, chunks: list[bytes]) -> None:  # type: ignore[override] # as above
        self.watched.note("store")
        await super().store(total, origin, chunks)


@pytest.fixture
async def bench(bench: FillBench) -> FillBench:
    """A bench on which the content is small."""
    bench.settings = bench.settings.model_copy(update={"batch": ByteSize(1 << 20)})
    bench.partials = WatchedPartialStore(bench)
    return bench


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, what comes without a pause comes in a moment."""
    monkeypatch.setattr("proxy.core.fills.owner._MOMENT", 20.0)


def watched(bench: FillBench) -> WatchedPartialStore:
    assert isinstance(bench.partials, WatchedPartialStore)
    return bench.partials


@pytest.mark.usefixtures("patient")
async def test_a_small_blob_is_stored_by_one_call(bench: FillBench) -> None:
    assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))) == CONTENT
    await bench.settled()
    assert watched(bench).calls == ["store", "begin", "append", "commit"]  # the last three by the first
    assert await bench.stored() == CONTENT
    assert bench.metric("pullthrough_bytes_total", flow="stored") == len(CONTENT)


@pytest.mark.usefixtures("patient")
async def test_a_blob_without_bytes_is_stored_by_one_call(bench: FillBench) -> None:
    assert await read(await bench.fills.open(EMPTY, ScriptedRoute(b""))) == b""
    await bench.settled()
    assert watched(bench).calls[0] == "store"
    assert await bench.stored(EMPTY) == b""


async def test_what_has_come_of_a_slow_small_blob_can_be_read(bench: FillBench) -> None:
    gate = Gate()
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT, Answer(gates={4000: gate})))
    assert await read_some(source, 4000) == CONTENT[:4000]
    assert watched(bench).calls == ["begin", "append"]
    gate.open()
    assert await read(source) == CONTENT
    assert await bench.stored() == CONTENT


async def test_what_has_come_of_a_broken_small_blob_is_gone_on_from(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT, Answer(breaks=4000))
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    assert route.requests == [0, 4000]


async def test_another_process_reads_a_small_blob(bench: FillBench, clock: FakeClock) -> None:
    del clock
    gate = Gate()
    route = ScriptedRoute(CONTENT, Answer(before=gate))
    ours = started(bench.fills.open(DIGEST, route))
    await gate.reached.wait()
    theirs = started(bench.process().open(DIGEST, ScriptedRoute(b"never asked")))
    gate.open()
    assert await read(await ours) == CONTENT
    assert await read(await theirs) == CONTENT
    assert route.requests == [0]


@pytest.mark.usefixtures("patient")
async def test_wrong_bytes_of_a_small_blob_are_told_and_not_stored(bench: FillBench) -> None:
    for wrong, digest in ((b"?" * len(CONTENT), DIGEST), (b"", DIGEST), (b"?", EMPTY)):
        route = ScriptedRoute(wrong, name=f"evil {len(wrong)}")
        for _ in range(2):  # the second time it is not even asked
            with pytest.raises(UpstreamError) as told:
                await bench.fills.open(digest, route)
            assert told.value.failure is UpstreamFailure.GARBAGE
        assert route.requests == [0]
        assert await bench.stored(digest) is None
    assert "store" not in watched(bench).calls
    assert bench.partials.partials == {}


@pytest.mark.usefixtures("patient")
async def test_wrong_bytes_of_a_small_blob_do_not_reach_the_clients_of_other_upstreams(bench: FillBench) -> None:
    gate = Gate()
    hostile = ScriptedRoute(b"?" * len(CONTENT), Answer(before=gate), name="evil nginx")
    theirs = started(bench.fills.open(DIGEST, hostile))
    await gate.reached.wait()
    ours = [started(fills.open(DIGEST, ScriptedRoute(CONTENT))) for fills in (bench.fills, bench.process())]
    for _ in range(9):
        await asyncio.sleep(0)
    gate.open()
    with pytest.raises(UpstreamError, match="evil nginx"):
        await theirs
    assert [await read(await one) for one in ours] == [CONTENT, CONTENT]
    assert hostile.requests == [0]
    assert bench.metric("pullthrough_verify_failures_total", rule="evil") == 1


@pytest.mark.parametrize("full", ["store", "commit"])
async def test_a_small_blob_that_cannot_be_kept_is_read_from_memory(bench: FillBench, full: str) -> None:
    watched(bench).full = {full, "commit"}
    route = ScriptedRoute(CONTENT)
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    await bench.settled()
    assert route.requests == [0]
    # The kernel tells once that bytes did not reach the device: a second try would be told that they did.
    assert watched(bench).calls.count("commit") == 1
    assert await bench.stored() is None
    assert bench.partials.partials == {}


@pytest.mark.parametrize("full", ["begin", "append"])
async def test_a_small_blob_that_cannot_be_written_is_passed_through(bench: FillBench, full: str) -> None:
    watched(bench).full = {full}
    route = ScriptedRoute(CONTENT)
    assert await read(await bench.fills.open(DIGEST, route)) == CONTENT
    await bench.settled()
    assert route.requests == [0, 0]
    assert await bench.stored() is None
    assert bench.partials.partials == {}


async def test_a_small_blob_of_several_pieces_is_begun_before_its_pieces_are_written(bench: FillBench) -> None:
    route = ScriptedRoute(CONTENT, parallel=4)
    assert await read(await bench.fills.open(DIGEST, route, size=len(CONTENT))) == CONTENT
    assert watched(bench).calls[0] == "begin"
    assert max(route.requests) < len(CONTENT)
    assert await bench.stored() == CONTENT


@pytest.mark.usefixtures("patient")
async def test_readers_of_a_small_blob_are_given_all_of_it_at_once(bench: FillBench) -> None:
    bench.settings = bench.settings.model_copy(update={"segment": ByteSize(1 << 20)})
    source = await bench.fills.open(DIGEST, ScriptedRoute(CONTENT))
    assert [data async for data in source.stream(0, source.total)] == [CONTENT]
    source.close()


@pytest.mark.usefixtures("patient")
async def test_a_small_blob_is_one_line_of_the_log(bench: FillBench) -> None:
    with capture_logs() as logs:
        assert await read(await bench.fills.open(DIGEST, ScriptedRoute(CONTENT), size=len(CONTENT))) == CONTENT
        await bench.settled()
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == ["fill.committed"]
