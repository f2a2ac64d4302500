"""Room for what clients push: how bodies are gathered, and what becomes of them on a full disk."""

import pytest

from proxy.core.admission import Admission
from proxy.core.intake import Intake
from proxy.core.ports import StorageFullError
from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk
from proxy.model.chunk import ChunkRange
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import ANONYMOUS
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.telemetry.metrics import Metrics
from tests.support.bodies import BrokenBodyError, body, broken
from tests.unit.core.conftest import Bench

BLOB = b"the bytes of a layer"
DIGEST = Digest.of(BLOB)
MIB = 1 << 20


class Sink:
    """Where bytes go; `room` is what it takes."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.writes: list[int] = []

    async def write(self, data: bytes) -> None:
        if sum(self.writes) + len(data) > self.room:
            raise StorageFullError("there is no room")
        self.writes.append(len(data))


def intake(store: MemoryBlobStore | None = None, min_free: int = 0) -> Intake:
    return Intake(Admission(store or MemoryBlobStore(), min_free), Metrics())


@pytest.fixture
def hosted(bench: Bench) -> Resolution:
    return bench.resolve("team/app")


# --- gathering --------------------------------------------------------------------------------------------------------


async def test_small_pieces_are_written_together() -> None:
    sink = Sink()
    assert await intake().take(body(*[b"x" * 1000] * 2000), sink.write, length=None) == 2_000_000
    assert sink.writes == [*[263_000] * 7, 159_000]


async def test_large_pieces_are_written_as_they_come() -> None:
    sink = Sink()
    await intake().take(body(b"x" * 3 * MIB, b"", b"y" * MIB), sink.write, length=None)
    assert sink.writes == [3 * MIB, MIB]


async def test_an_empty_body_is_not_written() -> None:
    sink = Sink()
    assert await intake().take(body(b"", b""), sink.write, length=0) == 0
    assert sink.writes == []


async def test_reading_ends_beyond_the_most() -> None:
    sink = Sink()
    pieces = (b"x" * MIB, b"y" * 5, b"z" * 5)
    assert await intake().take(broken(*pieces), sink.write, length=None, most=MIB + 9) == MIB + 10
    assert sink.writes == [MIB]
    assert await intake().take(body(*pieces), sink.write, length=None, most=MIB + 10) == MIB + 10


async def test_what_came_before_a_break_is_written() -> None:
    sink = Sink()
    with pytest.raises(BrokenBodyError):
        await intake().take(broken(b"x" * MIB, b"rest"), sink.write, length=None)
    assert sink.writes == [MIB, 4]


async def test_a_rest_without_room_does_not_hide_why_the_body_ended() -> None:
    sink = Sink(room=MIB)
    with pytest.raises(BrokenBodyError):
        await intake().take(broken(b"x" * MIB, b"rest"), sink.write, length=None)
    assert sink.writes == [MIB]


async def test_what_a_full_disk_refused_is_not_written_again() -> None:
    sink = Sink(room=MIB)
    with pytest.raises(StorageFullError):
        await intake().take(body(b"x" * MIB, b"y" * MIB), sink.write, length=None)
    sink.room = 9 * MIB
    assert sink.writes == [MIB]


# --- room -------------------------------------------------------------------------------------------------------------


async def test_what_is_announced_must_fit() -> None:
    sink, store = Sink(), MemoryBlobStore(capacity=100)
    await intake(store, min_free=90).take(body(b"0123456789"), sink.write, length=10)
    with pytest.raises(ProxyError) as raised:
        await intake(store, min_free=90).take(broken(), sink.write, length=11)
    assert raised.value.code is ErrorCode.STORAGE_FULL
    assert raised.value.debug == ("11 bytes do not fit: 100 are free, and 90 stay free (storage.min_free)")
    assert sink.writes == [10]


async def test_room_is_looked_for_again_in_a_long_body() -> None:
    store, sink = MemoryBlobStore(capacity=1 << 30), Sink()
    sizes = [16 * MIB] * 20

    async def write(data: bytes) -> None:
        store.capacity -= len(data)
        await sink.write(data)

    with pytest.raises(ProxyError) as raised:
        await intake(store, min_free=900 * MIB).take(body(*[b"x" * size for size in sizes]), write, length=None)
    assert raised.value.code is ErrorCode.STORAGE_FULL
    assert sum(sink.writes) == 128 * MIB


async def test_an_upload_is_refused_while_too_little_is_free(bench: Bench, hosted: Resolution) -> None:
    upload = (await bench.uploads.begin(hosted, ANONYMOUS)).id
    bench.min_free = bench.store.capacity - len(BLOB) + 1
    bench.start()
    span = ChunkRange(0, len(BLOB) - 1)
    for work in (
        bench.uploads.whole(hosted, DIGEST, Chunk(broken(), length=len(BLOB))),
        bench.uploads.append(hosted, ANONYMOUS, upload, Chunk(broken(), span)),
        bench.uploads.append(hosted, ANONYMOUS, upload, Chunk(broken(), length=len(BLOB))),
        bench.uploads.finish(hosted, ANONYMOUS, upload, DIGEST, Chunk(broken(), length=len(BLOB))),
    ):
        with pytest.raises(ProxyError) as raised:
            await work
        assert raised.value.code is ErrorCode.STORAGE_FULL
    assert bench.counted("blob", "no_room") == 4
    bench.min_free -= 1
    bench.start()
    await bench.uploads.finish(hosted, ANONYMOUS, upload, DIGEST, Chunk(body(BLOB), span, len(BLOB)))


async def test_no_upload_begins_while_too_little_is_free(bench: Bench, hosted: Resolution) -> None:
    bench.min_free = bench.store.capacity + 1
    bench.start()
    with pytest.raises(ProxyError) as raised:
        await bench.uploads.begin(hosted, ANONYMOUS)
    assert raised.value.code is ErrorCode.STORAGE_FULL


async def test_a_disk_that_runs_full_keeps_what_it_took(bench: Bench, hosted: Resolution) -> None:
    upload = (await bench.uploads.begin(hosted, ANONYMOUS)).id
    bench.store.capacity = 2 * MIB
    with pytest.raises(ProxyError) as raised:
        await bench.uploads.append(hosted, ANONYMOUS, upload, Chunk(body(*[b"x" * MIB] * 4)))
    assert (raised.value.code, bench.counted("blob", "no_room")) == (ErrorCode.STORAGE_FULL, 1)
    assert (await bench.uploads.status(hosted, ANONYMOUS, upload)).size == 2 * MIB
    bench.store.capacity = 9 * MIB
    whole = Digest.of(b"x" * (4 * MIB))
    await bench.uploads.finish(hosted, ANONYMOUS, upload, whole, Chunk(body(b"x" * (2 * MIB))))


async def test_a_blob_whose_proof_cannot_be_written_is_pushed_again(bench: Bench, hosted: Resolution) -> None:
    upload = (await bench.uploads.begin(hosted, ANONYMOUS)).id
    bench.metadata.full = True
    for work in (
        bench.uploads.finish(hosted, ANONYMOUS, upload, DIGEST, Chunk(body(BLOB))),
        bench.uploads.whole(hosted, DIGEST, Chunk(body(BLOB))),
    ):
        with pytest.raises(ProxyError) as raised:
            await work
        assert raised.value.code is ErrorCode.STORAGE_FULL
    # The bytes are there; without the proof the repository does not hold them.
    assert await bench.store.stat(DIGEST) == len(BLOB)
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(hosted, DIGEST)
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN
    bench.metadata.full = False
    await bench.uploads.whole(hosted, DIGEST, Chunk(body(BLOB)))
    assert (await bench.blobs.head(hosted, DIGEST)).size == len(BLOB)
