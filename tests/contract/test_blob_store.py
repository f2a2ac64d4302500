"""The contract of the `BlobStore` port, over every implementation."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.core.ports import BlobReader, BlobStore, DigestMismatchError
from proxy.model.digest import Digest
from proxy.storage.blobs import FilesystemBlobStore, MemoryBlobStore
from proxy.storage.layout import Layout
from proxy.storage.threads import Threads

ALGORITHMS = ["sha256", "sha512"]


def files_under(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(params=["filesystem", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    """A store of each kind; a test that leaves a stray file behind fails."""
    if request.param == "memory":
        yield MemoryBlobStore()
        return
    layout = Layout(tmp_path)
    threads = Threads("blobs", 4)
    files = FilesystemBlobStore(layout, threads)
    await files.prepare()
    yield files
    assert files_under(tmp_path) == {layout.blob(digest) async for digest, _ in files.scan()}
    await asyncio.to_thread(threads.close)


async def keep(store: BlobStore, data: bytes, algorithm: str = "sha256") -> Digest:
    digest = Digest.of(data, algorithm)
    async with store.writer(digest) as writer:
        await writer.write(data)
        await writer.commit()
    return digest


async def content(reader: BlobReader) -> bytes:
    data = b""
    while part := await reader.read(len(data), 1000):
        data += part
    return data


async def stored(store: BlobStore, digest: Digest) -> bytes | None:
    reader = await store.open(digest)
    if reader is None:
        return None
    try:
        return await content(reader)
    finally:
        reader.close()


async def scanned(store: BlobStore) -> dict[Digest, int]:
    return {digest: size async for digest, size in store.scan()}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 2000], ids=["empty", "one byte", "512 kB"])
async def test_a_committed_blob_is_found_with_its_bytes_and_size(store: BlobStore, algorithm: str, data: bytes) -> None:
    digest = await keep(store, data, algorithm)

    assert await store.stat(digest) == len(data)
    assert await stored(store, digest) == data
    assert await scanned(store) == {digest: len(data)}


async def test_an_empty_blob_needs_no_write(store: BlobStore) -> None:
    digest = Digest.of(b"")
    async with store.writer(digest) as writer:
        await writer.commit()

    assert await stored(store, digest) == b""


async def test_a_file_has_the_bytes_of_the_blob_where_the_blob_has_them(store: BlobStore) -> None:
    data = bytes(range(256)) * 2000
    reader = await store.open(await keep(store, data))
    assert reader is not None
    file = reader.file()
    if file is not None:  # a store may have none
        await file.fetch(1000, 300_000)
        assert file.at_hand(1000, 300_000)
        assert os.pread(file.fileno(), len(data) + 1, 0) == data
        await file.fetch(len(data) - 10, 1 << 20)  # as far as there is anything
        assert file.at_hand(len(data) - 1, 1)
    reader.close()
    if file is not None:
        with pytest.raises(ValueError, match="closed"):
            file.fileno()


async def test_a_file_stays_readable_when_its_blob_is_deleted(store: BlobStore) -> None:
    digest = await keep(store, b"data")
    reader = await store.open(digest)
    assert reader is not None
    file = reader.file()
    assert await store.delete(digest)
    if file is not None:
        assert os.pread(file.fileno(), 10, 0) == b"data"
    reader.close()


async def test_an_absent_blob_is_none(store: BlobStore) -> None:
    digest = Digest.of(b"absent")

    assert await store.stat(digest) is None
    assert await store.open(digest) is None
    assert await store.delete(digest) is False
    assert await scanned(store) == {}


async def test_parts_are_joined_in_order(store: BlobStore) -> None:
    digest = Digest.of(b"one two three")
    async with store.writer(digest) as writer:
        for part in (b"one ", b"", b"two ", b"three"):
            await writer.write(part)
        await writer.commit()

    assert await stored(store, digest) == b"one two three"


async def test_nothing_is_readable_before_the_commit(store: BlobStore) -> None:
    digest = Digest.of(b"data")
    async with store.writer(digest) as writer:
        await writer.write(b"data")

        assert await store.stat(digest) is None
        assert await store.open(digest) is None
        assert await scanned(store) == {}
        await writer.commit()
        assert await store.stat(digest) == 4


async def test_leaving_without_commit_keeps_nothing(store: BlobStore) -> None:
    digest = Digest.of(b"data")
    async with store.writer(digest) as writer:
        await writer.write(b"data")

    assert await store.stat(digest) is None


async def test_an_error_in_the_context_keeps_nothing_and_is_raised(store: BlobStore) -> None:
    digest = Digest.of(b"data")

    async def fail() -> None:
        async with store.writer(digest) as writer:
            await writer.write(b"data")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await fail()
    assert await store.stat(digest) is None


async def test_a_cancelled_writer_keeps_nothing(store: BlobStore) -> None:
    digest = Digest.of(b"data" * 100_000)
    written = asyncio.Event()

    async def write() -> None:
        async with store.writer(digest) as writer:
            await writer.write(b"data")
            written.set()
            while True:
                await writer.write(b"data" * 10_000)
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        await written.wait()
        writing.cancel()
    assert writing.cancelled()
    assert await store.stat(digest) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_other_bytes_than_the_digest_names_are_refused(store: BlobStore, algorithm: str) -> None:
    digest = Digest.of(b"right", algorithm)
    async with store.writer(digest) as writer:
        await writer.write(b"wrong")
        with pytest.raises(DigestMismatchError):
            await writer.commit()

    assert await store.stat(digest) is None
    assert await scanned(store) == {}


async def test_a_wrong_copy_does_not_harm_a_stored_blob(store: BlobStore) -> None:
    digest = await keep(store, b"right")
    async with store.writer(digest) as writer:
        await writer.write(b"wrong")
        with pytest.raises(DigestMismatchError):
            await writer.commit()

    assert await stored(store, digest) == b"right"


@pytest.mark.parametrize("action", ["write", "commit"])
@pytest.mark.parametrize("end", ["commit", "mismatch", "leave"])
async def test_a_finished_writer_takes_nothing_more(store: BlobStore, action: str, end: str) -> None:
    digest = Digest.of(b"other" if end == "mismatch" else b"data")
    async with store.writer(digest) as writer:
        await writer.write(b"data")
        if end == "commit":
            await writer.commit()
        elif end == "mismatch":
            with pytest.raises(DigestMismatchError):
                await writer.commit()
        if end != "leave":
            with pytest.raises(ValueError, match="finished"):
                await (writer.write(b"more") if action == "write" else writer.commit())
    with pytest.raises(ValueError, match="finished"):
        await (writer.write(b"more") if action == "write" else writer.commit())
    assert await store.stat(digest) == (4 if end == "commit" else None)


async def test_committing_a_stored_digest_again_is_a_success(store: BlobStore) -> None:
    await keep(store, b"data")
    digest = await keep(store, b"data")

    assert await stored(store, digest) == b"data"
    assert await scanned(store) == {digest: 4}


async def test_concurrent_commits_of_one_digest_all_succeed(store: BlobStore) -> None:
    data = b"data" * 50_000
    digests = await asyncio.gather(*(keep(store, data) for _ in range(20)))

    assert await scanned(store) == {digests[0]: len(data)}
    assert await stored(store, digests[0]) == data


async def test_a_reader_opened_before_a_second_commit_goes_on(store: BlobStore) -> None:
    digest = await keep(store, b"data")
    reader = await store.open(digest)
    assert reader is not None
    await keep(store, b"data")

    assert await content(reader) == b"data"
    reader.close()


async def test_a_deleted_blob_is_gone_but_open_readers_go_on(store: BlobStore) -> None:
    digest = await keep(store, b"data" * 1000)
    reader = await store.open(digest)
    assert reader is not None

    assert await store.delete(digest) is True
    assert await store.stat(digest) is None
    assert await store.open(digest) is None
    assert await store.delete(digest) is False
    assert reader.size == 4000
    assert await content(reader) == b"data" * 1000
    reader.close()


async def test_a_deleted_blob_can_be_stored_again(store: BlobStore) -> None:
    digest = await keep(store, b"data")
    await store.delete(digest)
    await keep(store, b"data")

    assert await stored(store, digest) == b"data"


@pytest.mark.parametrize(
    ("position", "size", "expected"),
    [(0, 3, b"012"), (4, 3, b"456"), (8, 5, b"89"), (9, 1, b"9"), (10, 1, b""), (11, 5, b"")],
)
async def test_a_read_returns_what_lies_at_its_position(
    store: BlobStore, position: int, size: int, expected: bytes
) -> None:
    reader = await store.open(await keep(store, b"0123456789"))
    assert reader is not None

    assert await reader.read(position, size) == expected
    reader.close()


async def test_a_large_read_returns_a_part_and_never_nothing(store: BlobStore) -> None:
    data = bytes(range(256)) * 4096
    reader = await store.open(await keep(store, data))
    assert reader is not None
    part = await reader.read(1000, len(data))

    assert part
    assert data[1000:].startswith(part)
    reader.close()


async def test_readers_of_one_blob_do_not_disturb_each_other(store: BlobStore) -> None:
    data = bytes(range(256)) * 1000
    digest = await keep(store, data)

    assert await asyncio.gather(*(stored(store, digest) for _ in range(10))) == [data] * 10


async def test_close_is_idempotent_and_final(store: BlobStore) -> None:
    reader = await store.open(await keep(store, b"data"))
    assert reader is not None
    reader.close()
    reader.close()

    with pytest.raises(ValueError, match="closed"):
        await reader.read(0, 1)


async def test_scan_finds_blobs_of_every_algorithm(store: BlobStore) -> None:
    expected = {}
    for number in range(30):
        data = b"x" * number
        expected[await keep(store, data, ALGORITHMS[number % 2])] = number

    assert await scanned(store) == expected


async def test_a_scan_survives_deletes_while_it_runs(store: BlobStore) -> None:
    digests = {await keep(store, b"x" * number) for number in range(30)}
    async for digest, _ in store.scan():
        assert await store.delete(digest)
        digests.remove(digest)

    assert digests == set()


@pytest.mark.parametrize(
    "make", [lambda s: s.stat, lambda s: s.delete, lambda s: s.open], ids=["stat", "delete", "open"]
)
async def test_one_algorithm_does_not_answer_for_another(
    store: BlobStore, make: Callable[[BlobStore], Callable[[Digest], object]]
) -> None:
    await keep(store, b"data", "sha256")
    call = make(store)

    assert not await call(Digest.of(b"data", "sha512"))  # type: ignore[misc] # one of three awaitables
    assert len(await scanned(store)) == 1


async def test_free_room_is_told(store: BlobStore) -> None:
    assert await store.free() > 1 << 20
