"""Uploads of blobs: over many requests, in one, and what is left of them when something goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import UploadSettings
from proxy.core.ports import StorageFullError
from proxy.core.rules import Resolution
from proxy.core.upload_ports import OpenUpload, UploadRecord
from proxy.core.uploads import Chunk, UploadRangeError, UploadStatus
from proxy.model.chunk import ChunkRange
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.uploads.memory import MemoryUploadStore
from tests.support.bodies import BrokenBodyError, StandingBody, body, broken
from tests.support.uploads import anyone
from tests.unit.core.conftest import Bench

BLOB = b"the bytes of a layer"
DIGEST = Digest.of(BLOB)
NAME = RepositoryName("team/app")
MIB = 1 << 20


class Session:
    """A client's upload."""

    def __init__(self, bench: Bench, resolution: Resolution, upload: str, principal: Principal = ANONYMOUS) -> None:
        self.bench, self.resolution, self.upload, self.principal = bench, resolution, upload, principal

    @property
    def place(self) -> tuple[Resolution, Principal, str]:
        return self.resolution, self.principal, self.upload

    async def append(self, *pieces: bytes, span: ChunkRange | None = None, length: int | None = None) -> int:
        return (await self.bench.uploads.append(*self.place, Chunk(body(*pieces), span, length))).size

    async def finish(
        self, *pieces: bytes, digest: Digest = DIGEST, span: ChunkRange | None = None, length: int | None = None
    ) -> None:
        await self.bench.uploads.finish(*self.place, digest, Chunk(body(*pieces), span, length))

    async def size(self) -> int:
        return (await self.bench.uploads.status(*self.place)).size

    async def cancel(self) -> None:
        await self.bench.uploads.cancel(*self.place)


@pytest.fixture
def hosted(bench: Bench) -> Resolution:
    return bench.resolve(NAME)


@pytest.fixture
async def session(bench: Bench, hosted: Resolution) -> Session:
    return Session(bench, hosted, (await bench.uploads.begin(hosted, ANONYMOUS)).id)


async def refusal(work: Awaitable[object]) -> ProxyError:
    with pytest.raises(ProxyError) as raised:
        await work
    return raised.value


async def refused_at(work: Awaitable[object]) -> int:
    """Return how far the client is told that its upload is."""
    with pytest.raises(UploadRangeError) as raised:
        await work
    assert raised.value.code is ErrorCode.BLOB_UPLOAD_INVALID
    assert raised.value.detail == {"size": raised.value.status.size}
    return raised.value.status.size


async def stored(bench: Bench, resolution: Resolution, digest: Digest = DIGEST) -> bytes | None:
    """Return the blob as the repository serves it."""
    try:
        source = await bench.blobs.open(resolution, digest)
    except ProxyError as error:
        if error.code is not ErrorCode.BLOB_UNKNOWN:
            raise
        return None
    try:
        return b"".join([data async for data in source.stream(0, source.total)])
    finally:
        source.close()


# --- the three ways ---------------------------------------------------------------------------------------------------


async def test_an_upload_in_chunks_is_a_blob_in_the_end(bench: Bench, hosted: Resolution, session: Session) -> None:
    assert UUID(session.upload).version == 4
    assert await session.size() == 0
    assert await session.append(BLOB[:5], BLOB[5:9], span=ChunkRange(0, 8), length=9) == 9
    assert await session.append(BLOB[9:12]) == await session.size() == 12
    await session.finish(BLOB[12:], span=ChunkRange(12, len(BLOB) - 1))
    assert await stored(bench, hosted) == BLOB
    assert (await refusal(session.size())).code is ErrorCode.BLOB_UPLOAD_UNKNOWN
    assert (bench.counted("blob", "stored"), bench.counted("blob", "refused")) == (1, 0)
    assert bench.metrics.registry.get_sample_value("pullthrough_bytes_total", {"flow": "pushed"}) == len(BLOB)


async def test_a_blob_comes_whole_with_the_last_request(bench: Bench, hosted: Resolution, session: Session) -> None:
    await session.finish(BLOB, length=len(BLOB))
    assert await stored(bench, hosted) == BLOB


async def test_a_blob_comes_whole_in_one_request(bench: Bench, hosted: Resolution) -> None:
    await bench.uploads.whole(hosted, DIGEST, Chunk(body(BLOB[:3], BLOB[3:]), length=len(BLOB)))
    assert await stored(bench, hosted) == BLOB
    assert bench.counted("blob", "stored") == 1


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"{}"])
async def test_small_and_empty_blobs_of_either_algorithm(
    bench: Bench, hosted: Resolution, algorithm: str, content: bytes
) -> None:
    digest = Digest.of(content, algorithm)
    record = await bench.uploads.begin(hosted, ANONYMOUS, algorithm)
    assert record.algorithm == algorithm
    await Session(bench, hosted, record.id).finish(content, digest=digest)
    await bench.uploads.whole(hosted, Digest.of(content), Chunk(body(content)))
    assert await stored(bench, hosted, digest) == await stored(bench, hosted, Digest.of(content)) == content


async def test_an_unknown_algorithm_is_refused_at_the_beginning(bench: Bench, hosted: Resolution) -> None:
    error = await refusal(bench.uploads.begin(hosted, ANONYMOUS, "md5"))
    assert (error.code, error.message) == (ErrorCode.DIGEST_INVALID, "digests have the algorithm sha256 or sha512")


async def test_what_is_stored_for_others_must_be_pushed_all_the_same(bench: Bench, hosted: Resolution) -> None:
    await bench.uploads.whole(bench.resolve("team/other"), DIGEST, Chunk(body(BLOB)))
    assert (await refusal(bench.uploads.whole(hosted, DIGEST, Chunk(body())))).code is ErrorCode.DIGEST_INVALID
    assert await stored(bench, hosted) is None
    assert await stored(bench, bench.resolve("team/other")) == BLOB


# --- digests ----------------------------------------------------------------------------------------------------------


async def test_other_bytes_than_the_digest_end_the_upload(bench: Bench, hosted: Resolution, session: Session) -> None:
    await session.append(BLOB)
    error = await refusal(session.finish(b"more"))
    assert (error.code, error.detail) == (ErrorCode.DIGEST_INVALID, {"name": NAME, "digest": str(DIGEST)})
    assert (await refusal(session.size())).code is ErrorCode.BLOB_UPLOAD_UNKNOWN
    assert await stored(bench, hosted) is None
    assert (bench.counted("blob", "refused"), bench.counted("blob", "stored")) == (1, 0)


async def test_of_a_whole_blob_with_other_bytes_nothing_stays(bench: Bench, hosted: Resolution) -> None:
    error = await refusal(bench.uploads.whole(hosted, DIGEST, Chunk(body(b"other"))))
    assert error.code is ErrorCode.DIGEST_INVALID
    assert [blob async for blob in bench.store.scan()] == []


# --- chunks that do not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "length", "content"),
    [
        (ChunkRange(0, 4), 5, b"again"),
        (ChunkRange(3, 7), 5, b"later"),
        (ChunkRange(5, 9), 5, b"later"),
        (ChunkRange(4, 8), 4, b"says"),
        (ChunkRange(4, 8), None, b"less"),
        (ChunkRange(4, 8), None, b""),
        (ChunkRange(4, 8), None, b"more.."),
        (ChunkRange(4, 4 + 3 * MIB), None, b"x" * (4 * MIB)),
        (ChunkRange(4, 4 + 3 * MIB), None, b"x" * (2 * MIB)),
    ],
)
@pytest.mark.parametrize("last", [False, True])
async def test_nothing_of_a_chunk_that_does_not_fit_is_kept(
    bench: Bench, session: Session, span: ChunkRange, length: int | None, content: bytes, *, last: bool
) -> None:
    await session.append(BLOB[:4])
    chunk = Chunk(body(*(content[at : at + MIB // 3] for at in range(0, len(content), MIB // 3))), span, length)
    place = session.place
    work = bench.uploads.finish(*place, DIGEST, chunk) if last else bench.uploads.append(*place, chunk)
    assert await refused_at(work) == await session.size() == 4
    await session.finish(BLOB[4:], span=ChunkRange(4, len(BLOB) - 1))


async def test_what_is_refused_by_its_headers_is_not_read(bench: Bench, session: Session) -> None:
    await session.append(BLOB[:4])
    for span, length in ((ChunkRange(0, 3), None), (ChunkRange(4, 7), 5)):
        # Reading it would break off.
        await refused_at(bench.uploads.append(*session.place, Chunk(broken(), span, length)))


async def test_a_body_without_range_goes_to_the_end(session: Session) -> None:
    assert [await session.append(b"12", b"345"), await session.append(), await session.append(b"6")] == [5, 5, 6]


async def test_of_two_requests_one_writes(bench: Bench, session: Session) -> None:
    standing = StandingBody(b"x" * MIB, b"rest")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(bench.uploads.append(*session.place, Chunk(standing.read())))
        await standing.stands.wait()
        assert await refused_at(session.append(b"mine")) == await session.size() == MIB
        assert await refused_at(session.finish(b"mine")) == MIB
        standing.go_on.set()
    assert first.result().size == MIB + 4


class OvertakenUploads(MemoryUploadStore):
    """Uploads of which each is finished by another process while a request finds it busy."""

    @asynccontextmanager
    async def open(self, upload: str) -> AsyncIterator[OpenUpload]:
        async with super().open(upload):
            try:
                async with super().open(upload) as opened:
                    yield opened
            finally:
                await self.remove(upload)


async def test_an_upload_that_ends_while_it_is_busy_is_unknown(bench: Bench, hosted: Resolution) -> None:
    bench.sessions = OvertakenUploads(bench.store)
    bench.start()
    session = Session(bench, hosted, (await bench.uploads.begin(hosted, ANONYMOUS)).id)
    assert (await refusal(session.append(b"x"))).code is ErrorCode.BLOB_UPLOAD_UNKNOWN


# --- bodies that break off --------------------------------------------------------------------------------------------


PIECES = (b"x" * MIB, b"rest", b" and more")


async def test_of_a_body_that_breaks_off_all_that_came_stays(bench: Bench, session: Session) -> None:
    whole = b"".join(PIECES) + b"!"
    with pytest.raises(BrokenBodyError):
        await bench.uploads.append(*session.place, Chunk(broken(*PIECES), ChunkRange(0, 9 * MIB)))
    came = await session.size()
    assert came == len(whole) - 1
    await session.finish(whole[came:], digest=Digest.of(whole), span=ChunkRange(came, came))


async def test_of_a_request_that_is_cancelled_all_that_came_stays(
    bench: Bench, hosted: Resolution, session: Session
) -> None:
    standing, whole = StandingBody(*PIECES), b"".join(PIECES)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.uploads.append(*session.place, Chunk(standing.read())))
        await standing.stands.wait()
        task.cancel()
    assert task.cancelled()
    assert (await session.size(), standing.closed) == (len(whole), True)
    await session.finish(digest=Digest.of(whole))
    assert await stored(bench, hosted, Digest.of(whole)) == whole


async def test_of_a_whole_blob_that_breaks_off_nothing_stays(bench: Bench, hosted: Resolution) -> None:
    room = await bench.store.free()
    with pytest.raises(BrokenBodyError):
        await bench.uploads.whole(hosted, DIGEST, Chunk(broken(BLOB)))
    assert (await bench.store.free(), await stored(bench, hosted)) == (room, None)


async def test_an_upload_that_is_cancelled_by_another_request_takes_nothing_more(
    bench: Bench, session: Session
) -> None:
    standing = StandingBody(b"x")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(refusal(bench.uploads.append(*session.place, Chunk(standing.read()))))
        await standing.stands.wait()
        await session.cancel()
        standing.go_on.set()
    assert task.result().code is ErrorCode.BLOB_UPLOAD_UNKNOWN


async def test_a_rest_that_cannot_be_saved_does_not_hide_why_the_body_ended(bench: Bench, session: Session) -> None:
    standing = StandingBody(b"x")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.uploads.append(*session.place, Chunk(standing.read())))
        await standing.stands.wait()
        await session.cancel()
        task.cancel()
    assert task.cancelled()


# --- whose upload it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["status", "append", "finish", "cancel"])
@pytest.mark.parametrize("who", ["another principal", "another repository", "another id", "no id", "upper case", "odd"])
async def test_for_others_there_is_no_upload(bench: Bench, hosted: Resolution, call: str, who: str) -> None:
    alice = Principal("alice")
    upload = (await bench.uploads.begin(hosted, alice)).id
    resolution, principal, known = {
        "another principal": (hosted, Principal("bob"), upload),
        "another repository": (bench.resolve("team/other"), alice, upload),
        "another id": (hosted, alice, str(uuid4())),
        "no id": (hosted, alice, "../" * 1000),
        "upper case": (hosted, alice, upload.upper().replace("-", "")),
        "odd": (hosted, alice, f"{{{upload}}}"),
    }[who]
    chunk = Chunk(broken())
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "status": lambda: bench.uploads.status(resolution, principal, known),
        "append": lambda: bench.uploads.append(resolution, principal, known, chunk),
        "finish": lambda: bench.uploads.finish(resolution, principal, known, DIGEST, chunk),
        "cancel": lambda: bench.uploads.cancel(resolution, principal, known),
    }
    error = await refusal(calls[call]())
    assert (error.code, len(error.detail["upload"]) <= 100) == (ErrorCode.BLOB_UPLOAD_UNKNOWN, True)
    assert await bench.uploads.status(hosted, alice, upload) == UploadStatus(
        UploadRecord(upload, NAME, alice, "sha256"), 0
    )


async def test_others_do_not_even_hold_it_up(bench: Bench, hosted: Resolution, session: Session) -> None:
    standing = StandingBody()
    bob = Session(bench, hosted, session.upload, Principal("bob"))
    await refusal(bench.uploads.append(*bob.place, Chunk(standing.read())))
    assert await session.append(BLOB) == len(BLOB)


# --- repositories -----------------------------------------------------------------------------------------------------


async def test_a_cache_takes_no_uploads(bench: Bench) -> None:
    cache = bench.resolve()
    bench.with_rule(push=True)
    upload = (await bench.uploads.begin(bench.resolve(), ANONYMOUS)).id
    works = [
        bench.uploads.begin(cache, ANONYMOUS),
        bench.uploads.whole(cache, DIGEST, Chunk(broken())),
        bench.uploads.mount(cache, DIGEST, None, anyone),
        bench.uploads.append(cache, ANONYMOUS, upload, Chunk(broken())),
        bench.uploads.finish(cache, ANONYMOUS, upload, DIGEST, Chunk(broken())),
        bench.uploads.cancel(cache, ANONYMOUS, upload),
    ]
    assert {(await refusal(work)).code for work in works} == {ErrorCode.UNSUPPORTED}


async def test_a_cache_whose_rule_takes_pushes_serves_what_was_uploaded(bench: Bench) -> None:
    bench.with_rule(push=True)
    await bench.uploads.whole(bench.resolve(), DIGEST, Chunk(body(BLOB)))
    assert await stored(bench, bench.resolve()) == BLOB
    assert bench.upstream.requests == []


async def test_a_push_makes_the_repository_unless_ecr_is_followed(bench: Bench, hosted: Resolution) -> None:
    bench.with_character(ecr=True)
    for work in (
        bench.uploads.begin(hosted, ANONYMOUS),
        bench.uploads.whole(hosted, DIGEST, Chunk(broken())),
        bench.uploads.mount(hosted, DIGEST, None, anyone),
    ):
        assert (await refusal(work)).code is ErrorCode.NAME_UNKNOWN
    bench.with_character(ecr=False)
    await bench.uploads.begin(hosted, ANONYMOUS)
    assert await bench.metadata.has_repository(NAME)


async def test_with_ecr_a_repository_that_is_deleted_meanwhile_does_not_come_back(
    bench: Bench, hosted: Resolution
) -> None:
    bench.with_character(ecr=True)
    await bench.repositories.create(NAME)
    session = Session(bench, hosted, (await bench.uploads.begin(hosted, ANONYMOUS)).id)
    await bench.metadata.delete_repository(NAME)
    assert (await refusal(session.finish(BLOB))).code is ErrorCode.NAME_UNKNOWN
    assert not await bench.metadata.has_repository(NAME)


@pytest.mark.parametrize("way", ["finish", "whole"])
async def test_with_ecr_a_repository_that_is_deleted_while_its_last_bytes_come_does_not_come_back(
    bench: Bench, hosted: Resolution, way: str
) -> None:
    bench.with_character(ecr=True)
    await bench.repositories.create(NAME)
    upload = (await bench.uploads.begin(hosted, ANONYMOUS)).id
    standing = StandingBody(BLOB)
    chunk = Chunk(standing.read())
    work = (
        bench.uploads.whole(hosted, DIGEST, chunk)
        if way == "whole"
        else bench.uploads.finish(hosted, ANONYMOUS, upload, DIGEST, chunk)
    )
    async with asyncio.TaskGroup() as group:
        refused = group.create_task(refusal(work))
        await standing.stands.wait()
        await bench.metadata.delete_repository(NAME)
        standing.go_on.set()
    assert refused.result().code is ErrorCode.NAME_UNKNOWN
    assert not await bench.metadata.has_repository(NAME)


# --- the end of uploads -----------------------------------------------------------------------------------------------


async def test_a_cancelled_upload_is_over(bench: Bench, session: Session) -> None:
    room = await bench.store.free()
    await session.append(BLOB)
    await session.cancel()
    assert (await refusal(session.append(BLOB))).code is ErrorCode.BLOB_UPLOAD_UNKNOWN
    assert (await refusal(session.cancel())).code is ErrorCode.BLOB_UPLOAD_UNKNOWN
    assert await bench.store.free() == room


async def test_uploads_without_a_byte_for_long_expire(bench: Bench, hosted: Resolution, session: Session) -> None:
    idle = Session(bench, hosted, (await bench.uploads.begin(hosted, ANONYMOUS)).id)
    bench.clock.advance(bench.settings.expire_after.total_seconds())
    assert await bench.uploads.expire() == 0
    await session.append(b"x")
    bench.clock.advance(1)
    assert await bench.uploads.expire() == 1
    assert (await refusal(idle.size())).code is ErrorCode.BLOB_UPLOAD_UNKNOWN
    assert await session.size() == 1
    assert bench.metrics.registry.get_sample_value("pullthrough_uploads_expired_total") == 1


async def test_an_upload_goes_on_in_another_process(bench: Bench, session: Session) -> None:
    await session.append(BLOB[:7])
    bench.start()
    assert await session.size() == 7
    await session.finish(BLOB[7:])


class StuckUploads(MemoryUploadStore):
    """Uploads that cannot be removed: the device is read-only, or (`gone`) another process was faster."""

    gone = False

    async def remove(self, upload: str) -> bool:
        if self.gone:
            await super().remove(upload)
            return await super().remove(upload)
        raise StorageFullError("the device is read-only")


@pytest.mark.parametrize(("gone", "code"), [(False, ErrorCode.STORAGE_FULL), (True, ErrorCode.BLOB_UPLOAD_UNKNOWN)])
async def test_an_upload_that_cannot_be_cancelled(
    bench: Bench, hosted: Resolution, code: ErrorCode, *, gone: bool
) -> None:
    bench.sessions = sessions = StuckUploads(bench.store)
    bench.start()
    session = Session(bench, hosted, (await bench.uploads.begin(hosted, ANONYMOUS)).id)
    sessions.gone = gone
    assert (await refusal(session.cancel())).code is code


class FailingUploads(MemoryUploadStore):
    """Uploads whose first sweep meets a device that fails; `swept` is set by the next."""

    def __init__(self, blobs: MemoryBlobStore, now: Callable[[], float]) -> None:
        super().__init__(blobs, now)
        self.failing = True
        self.swept = asyncio.Event()

    async def expire(self, idle: float) -> list[UploadRecord]:
        if self.failing:
            self.failing = False
            raise OSError("the device fails")
        expired = await super().expire(idle)
        self.swept.set()
        return expired


async def test_sweeps_go_on_though_one_fails(bench: Bench, hosted: Resolution) -> None:
    bench.sessions = sessions = FailingUploads(bench.store, bench.clock.now)
    bench.settings = UploadSettings(sweep_interval=timedelta(milliseconds=1))
    bench.start()
    session = Session(bench, hosted, (await bench.uploads.begin(hosted, ANONYMOUS)).id)
    bench.clock.advance(10**6)
    with capture_logs() as logs:
        bench.tasks.spawn("sweep", bench.uploads.sweep())
        await sessions.swept.wait()
    assert [log["event"] for log in logs] == ["uploads.not_swept", "upload.expired"]
    assert (await refusal(session.size())).code is ErrorCode.BLOB_UPLOAD_UNKNOWN
