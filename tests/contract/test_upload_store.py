"""The contract of the `UploadStore` port, over every implementation."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from proxy.core.ports import BlobStore, DigestMismatchError
from proxy.core.upload_ports import OpenUpload, UploadBusyError, UploadRecord, UploadStore, UploadUnknownError
from proxy.model.digest import Digest
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName
from proxy.storage.blobs import FilesystemBlobStore, MemoryBlobStore
from proxy.storage.layout import Layout
from proxy.storage.threads import Threads
from proxy.storage.uploads import FilesystemUploadStore, MemoryUploadStore
from tests.support.clock import FakeClock

ALGORITHMS = ["sha256", "sha512"]
DATA = bytes(range(256)) * 2000
ABSENT = "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b"
NO_IDS = [
    "",
    "latest",
    "../blobs/x",
    "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b/../x",
    "6EC0BD7F-11C0-43DA-975E-2A8AD9EBAE0B",
    "6ec0bd7f11c043da975e2a8ad9ebae0b",
    "{6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b}",
    "urn:uuid:6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b",
    "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b\n",
    "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0\0",
    "\u0666ec0bd7f-11c0-43da-975e-2a8ad9ebae0b",  # a digit, but of another script
]


@dataclass
class Bench:
    """An upload store and the blob store it commits to; `layout` where they have files, `clock` where they do not."""

    uploads: UploadStore
    blobs: BlobStore
    layout: Layout | None = None
    clock: FakeClock = field(default_factory=FakeClock)

    async def begun(self, data: bytes = b"", algorithm: str = "sha256") -> str:
        record = UploadRecord(str(uuid4()), RepositoryName("team/app"), ANONYMOUS, algorithm)
        await self.uploads.begin(record)
        if data:
            async with self.uploads.open(record.id) as upload:
                await upload.append(data)
        return record.id

    async def size(self, upload: str) -> int | None:
        found = await self.uploads.find(upload)
        return None if found is None else found[1]

    async def stored(self, digest: Digest) -> bytes | None:
        reader = await self.blobs.open(digest)
        if reader is None:
            return None
        data = b""
        while part := await reader.read(len(data), 1 << 20):
            data += part
        reader.close()
        return data

    async def elapse(self, upload: str, seconds: float) -> None:
        """Let time pass since the upload got its last byte."""
        self.clock.advance(seconds)
        if self.layout is not None:
            part = self.layout.session_part(UUID(upload))
            changed_at = (await asyncio.to_thread(part.stat)).st_mtime - seconds
            await asyncio.to_thread(os.utime, part, (changed_at, changed_at))


@pytest.fixture(params=["filesystem", "memory"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "memory":
        memory, clock = MemoryBlobStore(), FakeClock()
        yield Bench(MemoryUploadStore(memory, clock.now), memory, clock=clock)
        return
    layout = Layout(tmp_path)
    threads = Threads("uploads", 4)
    blobs = FilesystemBlobStore(layout, threads)
    await blobs.prepare()
    yield Bench(FilesystemUploadStore(layout, threads), blobs, layout)
    await asyncio.to_thread(threads.close)


async def test_an_upload_is_found_as_it_was_begun(bench: Bench) -> None:
    record = UploadRecord(ABSENT, RepositoryName("team/app"), Principal("ann \u2603 \x00"), "sha512")
    await bench.uploads.begin(record)

    assert await bench.uploads.find(ABSENT) == (record, 0)
    async with bench.uploads.open(ABSENT) as upload:
        assert (upload.record, upload.size) == (record, 0)


async def test_an_upload_that_never_began_is_unknown(bench: Bench) -> None:
    assert await bench.uploads.find(ABSENT) is None
    assert await bench.uploads.remove(ABSENT) is False
    assert await bench.uploads.expire(0) == []
    with pytest.raises(UploadUnknownError):
        async with bench.uploads.open(ABSENT):
            pass


@pytest.mark.parametrize("text", NO_IDS)
async def test_an_id_in_any_other_spelling_is_unknown(bench: Bench, text: str) -> None:
    await bench.uploads.begin(UploadRecord(ABSENT, RepositoryName("team/app"), ANONYMOUS, "sha256"))

    assert await bench.uploads.find(text) is None
    assert await bench.uploads.remove(text) is False
    with pytest.raises(UploadUnknownError):
        async with bench.uploads.open(text):
            pass
    with pytest.raises(ValueError, match="UUID"):
        await bench.uploads.begin(UploadRecord(text, RepositoryName("team/app"), ANONYMOUS, "sha256"))


async def test_an_id_is_begun_once(bench: Bench) -> None:
    upload = await bench.begun(b"data")
    with pytest.raises(ValueError, match="already"):
        await bench.uploads.begin(UploadRecord(upload, RepositoryName("other"), ANONYMOUS, "sha256"))

    found = await bench.uploads.find(upload)
    assert found is not None
    assert (found[0].repository, found[1]) == ("team/app", 4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "one byte", "512 kB"])
async def test_a_committed_upload_is_a_blob_and_over(bench: Bench, algorithm: str, data: bytes) -> None:
    upload = await bench.begun(algorithm=algorithm)
    digest = Digest.of(data, algorithm)
    async with bench.uploads.open(upload) as opened:
        await opened.append(data)
        assert opened.size == len(data)
        assert await bench.stored(digest) is None
        await opened.commit(digest)

    assert await bench.stored(digest) == data
    assert await bench.uploads.find(upload) is None
    assert await bench.uploads.remove(upload) is False
    with pytest.raises(UploadUnknownError):
        async with bench.uploads.open(upload):
            pass


async def test_an_upload_without_any_append_is_the_empty_blob(bench: Bench) -> None:
    upload = await bench.begun()
    async with bench.uploads.open(upload) as opened:
        await opened.commit(Digest.of(b""))

    assert await bench.stored(Digest.of(b"")) == b""


@pytest.mark.parametrize("begun_as", ALGORITHMS)
@pytest.mark.parametrize("ended_as", ALGORITHMS)
async def test_bytes_of_many_requests_are_joined_in_order(bench: Bench, begun_as: str, ended_as: str) -> None:
    upload = await bench.begun(algorithm=begun_as)
    for start in range(0, len(DATA), 100_000):
        async with bench.uploads.open(upload) as opened:
            assert opened.size == start
            for at in range(start, start + 100_000, 30_000):
                await opened.append(DATA[at : min(at + 30_000, start + 100_000)])
        assert await bench.size(upload) == min(start + 100_000, len(DATA))
    digest = Digest.of(DATA, ended_as)
    async with bench.uploads.open(upload) as opened:
        await opened.commit(digest)

    assert await bench.stored(digest) == DATA


async def test_the_size_is_told_while_another_request_writes(bench: Bench) -> None:
    upload = await bench.begun(b"one")
    async with bench.uploads.open(upload) as opened:
        assert await bench.size(upload) == 3
        await opened.append(b" two")
        assert await bench.size(upload) == 7


async def test_one_request_at_a_time_has_the_upload(bench: Bench) -> None:
    upload, other = await bench.begun(), await bench.begun()
    async with bench.uploads.open(upload) as opened:
        for _ in range(2):
            with pytest.raises(UploadBusyError):
                async with bench.uploads.open(upload):
                    pass
        await opened.append(b"data")
        async with bench.uploads.open(other):
            pass
    async with bench.uploads.open(upload) as opened:
        assert opened.size == 4


async def test_of_many_requests_at_once_one_gets_the_upload(bench: Bench) -> None:
    upload = await bench.begun()
    everyone_tried = asyncio.Barrier(10)

    async def append() -> bool:
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(bench.uploads.open(upload))
            except UploadBusyError:
                await everyone_tried.wait()
                return False
            await opened.append(b"x")
            await everyone_tried.wait()
            return True

    assert sum(await asyncio.gather(*(append() for _ in range(10)))) == 1
    assert await bench.size(upload) == 1


async def test_a_request_that_fails_keeps_its_bytes_and_gives_the_upload_back(bench: Bench) -> None:
    upload = await bench.begun()

    async def break_off() -> None:
        async with bench.uploads.open(upload) as opened:
            await opened.append(b"data")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await break_off()
    async with bench.uploads.open(upload) as opened:
        assert opened.size == 4


async def test_a_cancelled_request_keeps_what_it_wrote_and_gives_the_upload_back(bench: Bench) -> None:
    upload = await bench.begun()
    written = asyncio.Event()

    async def write() -> None:
        async with bench.uploads.open(upload) as opened:
            while True:
                await opened.append(b"data" * 10_000)
                written.set()
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        await written.wait()
        writing.cancel()
    async with bench.uploads.open(upload) as opened:
        size = opened.size
        assert size >= 40_000
        assert size % 40_000 == 0
        await opened.commit(Digest.of(b"data" * (size // 4)))


@pytest.mark.parametrize("size", [0, 3, 7])
async def test_bytes_from_a_size_on_are_dropped(bench: Bench, size: int) -> None:
    upload = await bench.begun(b"one two")
    async with bench.uploads.open(upload) as opened:
        await opened.truncate(size)
        assert opened.size == size
        assert await bench.size(upload) == size
        await opened.append(b" three")
    digest = Digest.of(b"one two"[:size] + b" three")
    async with bench.uploads.open(upload) as opened:
        assert opened.size == size + 6
        await opened.commit(digest)

    assert await bench.stored(digest) == b"one two"[:size] + b" three"


@pytest.mark.parametrize("size", [-1, 5])
async def test_an_upload_is_not_cut_to_more_than_it_has(bench: Bench, size: int) -> None:
    upload = await bench.begun(b"data")
    async with bench.uploads.open(upload) as opened:
        with pytest.raises(ValueError, match="cannot be cut"):
            await opened.truncate(size)

    assert await bench.size(upload) == 4


@pytest.mark.parametrize("begun_as", ALGORITHMS)
@pytest.mark.parametrize("ended_as", ALGORITHMS)
async def test_other_bytes_than_the_digest_names_end_the_upload(bench: Bench, begun_as: str, ended_as: str) -> None:
    upload = await bench.begun(b"wrong", begun_as)
    async with bench.uploads.open(upload) as opened:
        with pytest.raises(DigestMismatchError):
            await opened.commit(Digest.of(b"right", ended_as))

    assert await bench.uploads.find(upload) is None
    assert await bench.stored(Digest.of(b"right", ended_as)) is None
    assert await bench.stored(Digest.of(b"wrong", ended_as)) is None


async def test_a_stored_blob_can_be_uploaded_again_and_survives_a_wrong_copy(bench: Bench) -> None:
    digest = Digest.of(b"right")
    for data in (b"right", b"right", b"wrong"):
        async with bench.uploads.open(await bench.begun(data)) as opened:
            if data == b"wrong":
                with pytest.raises(DigestMismatchError):
                    await opened.commit(digest)
            else:
                await opened.commit(digest)

        assert await bench.stored(digest) == b"right"


async def use(opened: OpenUpload, action: str) -> None:
    match action:
        case "append":
            await opened.append(b"more")
        case "truncate":
            await opened.truncate(0)
        case _:
            await opened.commit(Digest.of(b"data"))


@pytest.mark.parametrize("action", ["append", "truncate", "commit"])
@pytest.mark.parametrize("end", ["commit", "mismatch", "remove"])
async def test_an_upload_that_is_over_takes_nothing_more(bench: Bench, action: str, end: str) -> None:
    upload = await bench.begun(b"data")
    async with bench.uploads.open(upload) as opened:
        if end == "commit":
            await opened.commit(Digest.of(b"data"))
        elif end == "mismatch":
            with pytest.raises(DigestMismatchError):
                await opened.commit(Digest.of(b"other"))
        else:
            assert await bench.uploads.remove(upload) is True
        with pytest.raises(UploadUnknownError):
            await use(opened, action)

    assert await bench.uploads.find(upload) is None
    assert await bench.stored(Digest.of(b"data")) == (b"data" if end == "commit" else None)


@pytest.mark.parametrize("action", ["append", "truncate", "commit"])
async def test_an_upload_that_was_given_back_takes_nothing_more(bench: Bench, action: str) -> None:
    upload = await bench.begun(b"data")
    async with bench.uploads.open(upload) as opened:
        pass
    with pytest.raises(ValueError, match="closed"):
        await use(opened, action)

    assert await bench.size(upload) == 4


async def test_a_removed_upload_is_gone_with_its_bytes(bench: Bench) -> None:
    upload = await bench.begun(b"data")

    assert await bench.uploads.remove(upload) is True
    assert await bench.uploads.find(upload) is None
    assert await bench.uploads.remove(upload) is False
    with pytest.raises(UploadUnknownError):
        async with bench.uploads.open(upload):
            pass


async def test_of_many_who_remove_an_upload_one_does(bench: Bench) -> None:
    upload = await bench.begun(b"data")

    assert sum(await asyncio.gather(*(bench.uploads.remove(upload) for _ in range(10)))) == 1


async def test_an_upload_is_committed_or_removed_never_both(bench: Bench) -> None:
    for number in range(30):
        data = b"%d" % number
        upload = await bench.begun(data)
        async with bench.uploads.open(upload) as opened:
            committed, removed = await asyncio.gather(
                opened.commit(Digest.of(data)), bench.uploads.remove(upload), return_exceptions=True
            )

        assert isinstance(committed, UploadUnknownError) == (removed is True)
        assert await bench.stored(Digest.of(data)) == (None if removed else data)


async def test_idle_uploads_expire_and_others_do_not(bench: Bench) -> None:
    young = await bench.begun(b"young")
    old, empty = await bench.begun(b"old"), await bench.begun()
    for upload in (old, empty):
        await bench.elapse(upload, 50)
    fresh = await bench.begun(b"fresh")
    if bench.layout is None:  # one clock for all
        async with bench.uploads.open(young) as opened:
            await opened.append(b"er")

    expired = await bench.uploads.expire(40)
    assert {record.id for record in expired} == {old, empty}
    assert {record.repository for record in expired} == {"team/app"}
    assert await bench.uploads.find(old) is await bench.uploads.find(empty) is None
    assert await bench.size(young)
    assert await bench.size(fresh)
    assert await bench.uploads.expire(40) == []


async def test_an_upload_that_got_a_byte_is_not_idle(bench: Bench) -> None:
    upload = await bench.begun(b"data")
    await bench.elapse(upload, 50)
    async with bench.uploads.open(upload) as opened:
        await opened.append(b"x")

    assert await bench.uploads.expire(40) == []
    assert await bench.size(upload) == 5


@pytest.mark.parametrize("data", [b"", b"data"])
async def test_asking_for_an_upload_does_not_keep_it(bench: Bench, data: bytes) -> None:
    upload = await bench.begun(data)
    await bench.elapse(upload, 50)
    await bench.uploads.find(upload)
    async with bench.uploads.open(upload):
        pass

    assert [record.id for record in await bench.uploads.expire(40)] == [upload]


async def test_an_upload_that_somebody_writes_to_does_not_expire(bench: Bench) -> None:
    upload = await bench.begun(b"data")
    await bench.elapse(upload, 50)
    async with bench.uploads.open(upload) as opened:
        assert await bench.uploads.expire(40) == []
        await opened.commit(Digest.of(b"data"))

    assert await bench.stored(Digest.of(b"data")) == b"data"
