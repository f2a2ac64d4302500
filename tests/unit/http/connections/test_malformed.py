"""What is no HTTP, or could be read in two ways: refused in the form of every other error, and never repeated."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import MirrorSettings, ServerSettings
from proxy.http.server import Server
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import parse

HOST = b"Host: localhost\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
HEAD = b"POST /nowhere HTTP/1.1\r\n" + HOST
CHUNKED = b"PUT /v2/team/app/manifests/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

# RFC 9112 §6.1 and §6.3: how long a body is must not be a matter of opinion.
LENGTHS = {
    "a length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "a length twice": HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": HEAD + b"Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": HEAD + b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\nabcd",
    "a hexadecimal length": HEAD + b"Content-Length: 0x4\r\n\r\nabcd",
    "a length in other digits": HEAD + "Content-Length: \N{ARABIC-INDIC DIGIT FOUR}\r\n\r\nabcd".encode(),
    "a length beyond all": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabcd",
    "no length": HEAD + b"Content-Length:\r\n\r\nabcd",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two fields": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, but not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "not chunked": HEAD + b"Transfer-Encoding: identity\r\n\r\n",
    "nearly chunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked after a control": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
}

# RFC 9112 §2.2, §3, §5: lines and fields.
LINES = {
    "a space before the colon": HEAD + b"Content-Length : 4\r\n\r\nabcd",
    "a folded field": HEAD + b"X-A: b\r\n c\r\n\r\n",
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded first field": b"GET /livez HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "line feeds alone": b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    "a line feed alone": b"GET /livez HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "a carriage return alone": b"GET /livez HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
    "a null": HEAD + b"X: a\x00b\r\n\r\n",
    "a name with a space": HEAD + b"X Y: a\r\n\r\n",
    "no name": HEAD + b": a\r\n\r\n",
    "no colon": HEAD + b"secret\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "another version": b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "anything": b"\x00\x01secret\r\n\r\n",
    "tabs": b"GET\t/livez\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "no method": b"GE@T /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control in the target": b"GET /live\x7fz HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes in the target": b"GET /live\xffz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long target": b"GET /" + b"secret" * 1500 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a query bomb": b"GET /v2/a/tags/list?" + b"n=1&" * 250_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long field": HEAD + b"Authorization: Basic " + b"secret" * 3000 + b"\r\n\r\n",
    "a hundred fields more": HEAD + b"X: secret\r\n" * 101 + b"\r\n",
}

# RFC 9112 §7.1.
CHUNKS = {
    "a size with a prefix": b"0x1\r\n{\r\n0\r\n\r\n",
    "a negative size": b"-1\r\n{\r\n0\r\n\r\n",
    "a space after the size": b"1 \r\n{\r\n0\r\n\r\n",
    "a size beyond all": b"ffffffffffffffffffff\r\n{\r\n0\r\n\r\n",
    "more than the size": b"1\r\n{}\r\n0\r\n\r\n",
    "line feeds alone": b"1\n{\n0\n\n",
    "an extension that a line feed ends": b"1;a\n{\r\n0\r\n\r\n",
    "a trailer that frames": b"1\r\n{\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a thousand trailers": b"0\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
}

CASES = {**LENGTHS, **LINES, **{f"chunk: {name}": CHUNKED + chunks for name, chunks in CHUNKS.items()}}


async def send(address: tuple[str, int], sent: bytes) -> bytes:
    """Send exactly this, and return all that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    received = bytearray()
    try:
        while data := await reader.read(1 << 16):
            received += data
    except ConnectionResetError:
        pass  # what was not read any more
    writer.transport.abort()
    return bytes(received)


def serving(stack: Stack, *mirrors: MirrorSettings) -> Server:
    return Server(stack.serving(ServerSettings(port=0)), mirrors)


@pytest.mark.parametrize("name", CASES)
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closed(stack: Stack, name: str) -> None:
    async with serving(stack) as running:
        with capture_logs() as logs:
            received = await send(running.address, CASES[name] + SMUGGLED)
    answer = parse(received)
    assert answer.status == 400
    assert answer.complete  # nothing comes after it: what was behind it is no request
    assert json.loads(answer.body) == {
        "errors": [
            {
                "code": "MALFORMED",
                "message": "the request is not well-formed HTTP/1.1, or a part of it is too long",
                "detail": {},
            }
        ]
    }
    [told] = [entry for entry in logs if entry["event"] == "request.answered"]
    assert (told["client"], told["log_level"], told["status"]) == ("127.0.0.1", "info", 400)
    assert (told["kind"], told["error"], told["method"]) == ("malformed", "MALFORMED", "OTHER")
    assert told["request_id"] == answer.headers["x-request-id"]
    assert told["bytes"] == len(answer.body)
    assert "secret" not in f"{logs}{received!r}"


async def test_such_answers_carry_what_all_others_do(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(stack, MirrorSettings(port=0, rule="quay")) as running:
        for address in (running.address, running.mirror_addresses["quay"]):
            answer = parse(await send(address, b"secret\r\n\r\n"))
            usual = parse(await send(address, b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            # It is an answer of HTTP/1.0: nobody knows what was spoken. The connection ends without being told to.
            assert set(answer.headers) == set(usual.headers) - {"Connection"}
            for field in set(answer.headers) - {"X-Request-ID", "Date", "Content-Length"}:
                assert answer.headers[field] == usual.headers[field]
            assert answer.headers["Server"] == "pullthrough"
            assert answer.headers["X-Request-ID"] != usual.headers["X-Request-ID"]
    assert caplog.records == []  # aiohttp's own record would quote the request
    counted = stack.services.metrics.registry.get_sample_value(
        "pullthrough_requests_total", {"route": "malformed", "method": "OTHER", "status": "400", "cache": "none"}
    )
    assert counted == 2


async def test_what_came_before_is_answered(stack: Stack) -> None:
    async with serving(stack) as running:
        received = await send(running.address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nsecret\r\n\r\n")
    # Both at once: aiohttp gives up all that it read with what is no request. Either is an answer, neither the echo.
    assert received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 400 "))
    assert b"secret" not in received


async def test_extensions_of_chunks_are_ignored(stack: Stack) -> None:
    # RFC 9112 §7.1.1: a recipient must ignore those that it does not know.
    chunks = b"1;a=b\r\n{\r\n1;" + b"c" * 4000 + b"\r\n{\r\n0\r\n\r\n"
    async with serving(stack) as running:
        received = await send(running.address, CHUNKED.replace(HOST, HOST + b"Connection: close\r\n") + chunks)
    assert b"MANIFEST_INVALID" in received
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate,chunked", "identity, chunked"])
async def test_another_coding_below_chunks_is_refused(stack: Stack, coding: str) -> None:
    head = f"PUT /v2/team/app/manifests/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n"
    async with serving(stack) as running:
        received = await send(running.address, f"{head}Connection: close\r\n\r\n0\r\n\r\n".encode())
    assert received.startswith((b"HTTP/1.1 415 ", b"HTTP/1.1 400 "))


async def test_chunks_of_http_1_0_end_the_connection(stack: Stack) -> None:
    # RFC 9112 §6.1: its framing counts as faulty, so nothing behind it is read.
    head = (
        b"POST /nowhere HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    async with serving(stack) as running:
        received = await send(running.address, head + SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert received.count(b"HTTP/1.") == 1


async def test_the_body_of_a_get_is_no_request(stack: Stack) -> None:
    head = b"GET /livez HTTP/1.1\r\n" + HOST + f"Content-Length: {len(SMUGGLED)}\r\nConnection: close\r\n\r\n".encode()
    async with serving(stack) as running:
        received = await send(running.address, head + SMUGGLED)
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("fields", ["Upgrade: websocket\r\nConnection: Upgrade", "Upgrade: h2c\r\nConnection: Upgrade"])
async def test_no_other_protocol_is_spoken(stack: Stack, fields: str) -> None:
    async with serving(stack) as running:
        reader, writer = await asyncio.open_connection(*running.address)
        for field in (f"{fields}\r\n", ""):
            writer.write(f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{field}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Upgrade" not in head
            assert await reader.readexactly(18) == b'{"status":"alive"}'
        writer.close()


async def test_trace_repeats_nothing(stack: Stack) -> None:
    async with serving(stack) as running:
        for method in ("TRACE", "TRACK", "DEBUG"):
            sent = f"{method} / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic secret\r\nConnection: close\r\n\r\n"
            received = await send(running.address, sent.encode())
            assert received.split()[1] in {b"400", b"404", b"405"}
            assert b"secret" not in received
