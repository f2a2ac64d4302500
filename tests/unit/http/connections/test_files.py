"""Large blobs, which the kernel sends from their files where there is no TLS: on both loops, plain and with TLS."""

import asyncio
import errno
import os
import random
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from proxy.http.sendfile import SEGMENT
from proxy.model.digest import Digest
from tests.support import images
from tests.support.background import started, until
from tests.support.filed_blobs import FiledBlobStore
from tests.support.processes import open_descriptors
from tests.unit.http.conftest import Stack
from tests.unit.http.connections.site import Security, Site, Streams, rest
from tests.unit.http.raw import RawAnswer, parse

MIB = 1 << 20
BLOB = images.noise(1, 5 * MIB + 1234)
PLAIN = Security()


@pytest.fixture
def store() -> FiledBlobStore:
    return FiledBlobStore()


@pytest.fixture
async def digest(stack: Stack, store: FiledBlobStore) -> Digest:
    """A blob that is stored, and was pulled once."""
    digest = stack.upstream.hold_blob(BLOB)
    async with Site(stack, PLAIN) as site:
        assert (await get(site, digest)).body == BLOB
    assert stack.upstream.requests
    stack.upstream.requests.clear()
    store.looked.clear()
    return digest


def request(digest: Digest, first: int | None = None, last: int | None = None, *, close: bool = False) -> bytes:
    fields = "Host: localhost\r\n"
    fields += "" if first is None else f"Range: bytes={first}-{last}\r\n"
    fields += "Connection: close\r\n" if close else ""
    return f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\n{fields}\r\n".encode()


async def get(site: Site, digest: Digest, first: int | None = None, last: int | None = None) -> RawAnswer:
    async with site.connected() as (reader, writer):
        writer.write(request(digest, first, last, close=True))
        return parse(await rest(reader))


async def answer(streams: Streams) -> bytes:
    """Return the body of the next answer."""
    head = await streams[0].readuntil(b"\r\n\r\n")
    return await streams[0].readexactly(int(parse(head).headers["Content-Length"]))


def sent(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, object, object]]:
    return [(one["status"], one["bytes"], one["broken"]) for one in logs if one["event"] == "request.answered"]


async def test_a_stored_blob_arrives_and_is_counted(stack: Stack, security: Security, digest: Digest) -> None:
    async with Site(stack, security) as site, site.connected() as streams:
        with capture_logs() as logs:
            for _ in range(3):
                streams[1].write(request(digest))
                assert await answer(streams) == BLOB
            await until(lambda: len(sent(logs)) == 3)
    assert sent(logs) == [(200, len(BLOB), None)] * 3
    assert stack.upstream.requests == []


async def test_the_kernel_sends_it_unless_it_has_to_be_enciphered(
    stack: Stack, security: Security, store: FiledBlobStore, digest: Digest
) -> None:
    async with Site(stack, security) as site:
        await get(site, digest)
    assert bool(store.looked) == (security.authority is None)


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 0), (1, SEGMENT), (7, 7 + 65536), (MIB - 1, 3 * MIB), (len(BLOB) - 70_000, len(BLOB) - 1), (12, len(BLOB))],
)
async def test_a_range_is_exactly_that_range(
    stack: Stack, security: Security, digest: Digest, first: int, last: int
) -> None:
    async with Site(stack, security) as site:
        found = await get(site, digest, first, last)
    assert found.status == 206
    assert found.body == BLOB[first : last + 1]


async def test_answers_stay_in_order_behind_a_client_that_takes_them_slowly(
    stack: Stack, security: Security, digest: Digest
) -> None:
    """Whatever of an answer waits when the next one begins: headers, its end, or nothing."""
    numbers = random.Random(2)  # noqa: S311 - any will do
    spans = [(first, first + numbers.randrange(300_000)) for first in numbers.choices(range(4 * MIB), k=60)]
    async with Site(stack, security) as site:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)  # noqa: FBT003 - the socket API
        await asyncio.get_running_loop().sock_connect(sock, site.server.address)
        streams = await asyncio.open_connection(
            sock=sock, limit=4096, ssl=site.trusting, server_hostname="localhost" if site.trusting else None
        )
        streams[1].write(b"".join(request(digest, first, last) for first, last in spans))
        for first, last in spans:
            assert await answer(streams) == BLOB[first : last + 1]
        streams[1].transport.abort()


async def test_a_fast_client_does_not_keep_others_waiting(
    stack: Stack, digest: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    seen: list[int] = []
    sendfile = os.sendfile

    def turn() -> None:
        nonlocal turns
        turns += 1

    def watched(connection: int, file: int, position: int, size: int) -> int:
        asyncio.get_running_loop().call_soon(turn)
        seen.append(turns)
        assert size <= SEGMENT
        return sendfile(connection, file, position, size)

    async with Site(stack, PLAIN) as site:
        monkeypatch.setattr(os, "sendfile", watched)
        assert (await get(site, digest)).body == BLOB
    assert len(seen) >= len(BLOB) / SEGMENT
    assert seen == sorted(set(seen))  # the loop turned after each


async def test_what_is_not_in_memory_is_fetched_and_then_sent(
    stack: Stack, store: FiledBlobStore, digest: Digest
) -> None:
    store.cold = True
    async with Site(stack, PLAIN) as site:
        assert (await get(site, digest)).body == BLOB
    assert store.fetched == [(at, min(MIB, len(BLOB) - at)) for at in range(0, len(BLOB), MIB)]


@pytest.mark.parametrize("where", ["fault", "fetch_fault"])
async def test_a_file_that_cannot_be_read_ends_the_answer_short(
    stack: Stack, store: FiledBlobStore, digest: Digest, where: str
) -> None:
    store.cold = True
    setattr(store, where, OSError(errno.EIO, "Input/output error"))
    with capture_logs() as logs:
        async with Site(stack, PLAIN) as site:
            found = await get(site, digest)
    assert found.status == 200
    assert not found.complete
    assert [broken for _, _, broken in sent(logs)] == ["aborted"]
    [told] = [entry for entry in logs if entry["event"] == "transfer.aborted"]
    assert "Input/output error" in told["reason"]


async def test_a_file_that_ends_early_ends_the_answer_short(
    stack: Stack, store: FiledBlobStore, digest: Digest
) -> None:
    store.missing = 100
    with capture_logs() as logs:
        async with Site(stack, PLAIN) as site:
            found = await get(site, digest)
    assert found.body == BLOB[:-100]
    assert sent(logs) == [(200, len(BLOB) - 100, "aborted")]


async def test_what_the_kernel_cannot_send_is_copied(stack: Stack, store: FiledBlobStore, digest: Digest) -> None:
    store.unable = True
    async with Site(stack, PLAIN) as site:
        assert (await get(site, digest)).body == BLOB
        assert (await get(site, digest, MIB, 3 * MIB)).body == BLOB[MIB : 3 * MIB + 1]


async def test_without_a_descriptor_to_spare_it_is_copied(
    stack: Stack, digest: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(descriptor: int) -> int:
        raise OSError(errno.EMFILE, f"Too many open files beside {descriptor}")

    async with Site(stack, PLAIN) as site:
        monkeypatch.setattr(os, "dup", exhausted)
        assert (await get(site, digest)).body == BLOB


async def test_a_client_that_leaves_is_no_error_and_leaves_nothing_open(
    stack: Stack, security: Security, store: FiledBlobStore, digest: Digest, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        async with Site(stack, security) as site:
            descriptors = open_descriptors()
            for number in range(5):
                async with site.connected() as (reader, writer):
                    writer.write(request(digest))
                    await reader.readexactly(100_000 * number + 1)
            await until(lambda: len(sent(logs)) == 5 and open_descriptors() <= descriptors)
    assert {broken for _, _, broken in sent(logs)} == {"client left"}
    assert {entry["log_level"] for entry in logs} <= {"debug", "info"}
    assert caplog.records == []
    assert store.open_files == 0


async def test_a_client_that_takes_nothing_is_left(
    stack: Stack, security: Security, digest: Digest, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        async with Site(stack, security, send_timeout=timedelta(seconds=0.15)) as site, site.connected() as streams:
            streams[0]._transport.pause_reading()  # type: ignore[attr-defined] # noqa: SLF001 - a client that does not read
            # The kernel takes some megabytes for a client that takes none.
            for _ in range(10):
                streams[1].write(request(digest))
            await until(lambda: sent(logs) and sent(logs)[-1][2])
    assert sent(logs)[-1][2] == "slow client"
    assert [entry["client"] for entry in logs if entry["event"] == "connection.stalled"] == ["127.0.0.1"]
    assert caplog.records == []


async def test_an_answer_that_is_under_way_is_finished_before_the_end(
    stack: Stack, security: Security, digest: Digest
) -> None:
    site = Site(stack, security)
    await site.server.start()
    reader, writer = await site.open()
    writer.write(request(digest) * 5)
    head = await reader.readuntil(b"\r\n\r\n")
    stopping = started(site.server.stop())
    body = await rest(reader)
    await stopping
    assert parse(head).status == 200
    assert body[: len(BLOB)] == BLOB
    writer.transport.abort()
