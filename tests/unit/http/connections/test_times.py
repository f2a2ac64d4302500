"""Connections that take their time, and how many there may be: on both loops, plain and with TLS.

Time passes where a connection that sends nothing is closed: everything else is measured by that.
"""

import asyncio
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.model.digest import Digest
from tests.support.background import started, until
from tests.support.certificates import Authority
from tests.unit.http.conftest import Stack
from tests.unit.http.connections.site import Security, Site, Streams, rest
from tests.unit.http.raw import parse

SHORT = timedelta(seconds=0.15)
PING = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b'{"status":"alive"}'
OPEN = "pullthrough_connections"


async def ping(streams: Streams) -> bytes:
    reader, writer = streams
    writer.write(PING)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return await reader.readexactly(len(ANSWER))


def open_connections(stack: Stack) -> float | None:
    return stack.services.metrics.registry.get_sample_value(OPEN)


@pytest.mark.parametrize(
    "sent", [b"", b"GET", PING[:-2], PING[:-1]], ids=["nothing", "a word", "a line", "all but one"]
)
async def test_headers_that_do_not_come_are_not_waited_for(stack: Stack, security: Security, sent: bytes) -> None:
    async with Site(stack, security, header_timeout=SHORT) as site, site.connected() as (reader, writer):
        with capture_logs() as logs:
            writer.write(sent)
            assert await rest(reader) == b""
        assert [entry["event"] for entry in logs] == ["connection.headers_late"]
        await until(lambda: open_connections(stack) == 0)


async def test_byte_by_byte_is_no_way_around(stack: Stack, security: Security) -> None:
    async with Site(stack, security, header_timeout=SHORT) as site, site.connected() as (reader, writer):

        async def drip() -> None:
            writer.write(b"GET /livez HTTP/1.1\r\nX-Slow: ")
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.01)

        dripping = started(drip())
        assert await rest(reader) == b""
        dripping.cancel()


async def test_the_next_request_of_a_connection_has_the_same_time(stack: Stack, security: Security) -> None:
    async with Site(stack, security, header_timeout=SHORT) as site, site.connected() as (reader, writer):
        assert await ping((reader, writer)) == ANSWER
        writer.write(PING[:-1])
        assert await rest(reader) == b""


async def test_a_connection_may_rest_between_requests(stack: Stack, security: Security) -> None:
    async with Site(stack, security, header_timeout=SHORT) as site, site.connected() as streams:
        for _ in range(3):
            assert await ping(streams) == ANSWER
            await site.some_time()
            await site.some_time()
        assert await ping(streams) == ANSWER


async def test_a_long_answer_and_a_long_body_are_no_headers(stack: Stack, security: Security) -> None:
    blob = b"x" * 4096
    digest = stack.upstream.hold_blob(blob)
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    async with Site(stack, security, header_timeout=SHORT) as site, site.connected() as (reader, writer):
        writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"x" * 1024)
        await site.some_time()
        for _ in range(3):
            stack.upstream.gate.release()
        assert await reader.readexactly(3 * 1024) == b"x" * 3072
        url = f"/v2/team/app/blobs/uploads/?digest={Digest.of(b'body')}"
        writer.write(f"POST {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbo".encode())
        await site.some_time()
        writer.write(b"dy")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
        assert await ping((reader, writer)) == ANSWER


async def test_what_a_handler_did_not_read_is_no_headers_either(stack: Stack, security: Security) -> None:
    async with Site(stack, security, header_timeout=SHORT) as site, site.connected() as (reader, writer):
        writer.write(b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na")
        await reader.readuntil(b"]}")
        writer.write(b"b")
        await site.some_time()
        writer.write(b"c")
        assert await ping((reader, writer)) == ANSWER


async def test_who_shows_no_hand_is_not_waited_for(stack: Stack, tmp_path: Path) -> None:
    async with Site(stack, Security(Authority(tmp_path)), header_timeout=SHORT) as site:
        reader, writer = await asyncio.open_connection(*site.server.address)
        assert await rest(reader) == b""
        writer.close()
        await until(lambda: open_connections(stack) == 0)


async def test_a_client_that_takes_nothing_of_a_blob_is_left(
    stack: Stack, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    digest = stack.upstream.hold_blob(b"x" * (32 << 20))
    with capture_logs() as logs:
        async with Site(stack, security, send_timeout=SHORT) as site, site.connected() as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined] # noqa: SLF001 - a client that does not read
            writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: "request.answered" in [entry["event"] for entry in logs])
    assert [entry["broken"] for entry in logs if entry["event"] == "request.answered"] == ["slow client"]
    [told] = [entry for entry in logs if entry["event"] == "connection.stalled"]
    assert told["client"] == "127.0.0.1"
    assert caplog.records == []  # the loop and aiohttp have nothing to add
    assert open_connections(stack) == 0


async def test_a_client_that_takes_no_small_answers_is_left(
    stack: Stack, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        async with Site(stack, security, send_timeout=SHORT) as site, site.connected() as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined] # noqa: SLF001 - a client that does not read
            ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 64

            async def go_on() -> None:
                while True:
                    writer.write(ask)
                    await writer.drain()

            asking = started(go_on())
            await until(lambda: "connection.stalled" in [entry["event"] for entry in logs])
            asking.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await asking
            await until(lambda: open_connections(stack) == 0)
    assert caplog.records == []


async def test_further_connections_wait_for_a_place(stack: Stack, security: Security) -> None:
    with capture_logs() as logs:
        async with Site(stack, security, "quay", connections=2) as site:
            mirror = site.server.mirror_addresses["quay"]
            async with site.connected() as first, site.connected() as second:
                for _, writer in (first, second):
                    writer.write(PING[:-2])
                await until(lambda: open_connections(stack) == 2)
                waiting = [started(once(site, address)) for address in (site.server.address, mirror, mirror)]
                await until(lambda: "server.full" in [entry["event"] for entry in logs])
                assert not any(one.done() for one in waiting)
                assert open_connections(stack) == 2
                second[1].close()
                assert await asyncio.gather(*waiting) == [200, 200, 200]
            await until(lambda: open_connections(stack) == 0)
    # However often the last place comes free and is taken again.
    assert [entry["connections"] for entry in logs if entry["event"] == "server.full"] == [2]


async def test_who_only_keeps_a_connection_leaves_its_place_to_who_waits(stack: Stack, security: Security) -> None:
    async with (
        Site(stack, security, connections=3) as site,
        site.connected() as first,
        site.connected() as second,
        site.connected() as busy,
    ):
        busy[1].write(PING[:-2])
        for one in (first, second, first):
            assert await ping(one) == ANSWER
        # Whose last request is longer ago leaves first, and nobody who is asking for something.
        assert await once(site, site.server.address) == 200
        assert await rest(second[0]) == b""
        assert await ping(first) == ANSWER
        busy[1].write(b"\r\n")
        assert (await busy[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_place_is_left_as_soon_as_the_answer_is_there_for_which_it_was_held(
    stack: Stack, security: Security
) -> None:
    with capture_logs() as logs:
        async with Site(stack, security, connections=1) as site, site.connected() as (reader, writer):
            writer.write(PING[:-2])
            waiting = started(once(site, site.server.address))
            await until(lambda: "server.full" in [entry["event"] for entry in logs])
            writer.write(b"\r\n")
            assert (await rest(reader)).endswith(ANSWER)
            assert await waiting == 200


async def once(site: Site, address: tuple[str, int]) -> int:
    async with site.connected(address) as (reader, writer):
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return parse(await rest(reader)).status


async def test_places_come_free_by_the_timeouts(stack: Stack, security: Security) -> None:
    async with Site(stack, security, connections=1, header_timeout=SHORT) as site:
        idle = [await asyncio.open_connection(*site.server.address) for _ in range(2)]
        assert await once(site, site.server.address) == 200
        for _, writer in idle:
            writer.close()


async def test_handshakes_that_fail_leave_their_place(stack: Stack, tmp_path: Path) -> None:
    async with Site(stack, Security(Authority(tmp_path)), connections=1) as site:
        for _ in range(5):
            reader, writer = await asyncio.open_connection(*site.server.address)
            writer.write(PING)
            await rest(reader)
            writer.close()
        assert await once(site, site.server.address) == 200


async def test_no_descriptor_left_is_told_and_gets_over(
    stack: Stack, security: Security, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.listening._RETRY_SECONDS", 0.01)
    accept, failures = socket.socket.accept, iter([OSError(24, "Too many open files")])

    def exhausted(self: socket.socket) -> tuple[socket.socket, object]:
        for failure in failures:
            raise failure
        return accept(self)

    async with Site(stack, security) as site:
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        with capture_logs() as logs:
            assert await once(site, site.server.address) == 200
    assert "server.cannot_accept" in [entry["event"] for entry in logs]
