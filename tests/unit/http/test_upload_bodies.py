"""Bodies as clients really send them: cut short, in chunks, waiting for leave, encoded, too large, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer
from structlog.testing import capture_logs

from proxy.config.settings import ServerSettings
from proxy.http import body
from proxy.http.oci.errors import render
from proxy.http.server import Server
from proxy.http.trace import TRACE, Trace
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import MANIFEST_LIMIT
from proxy.model.media_types import OCI_MANIFEST
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import RawAnswer, exchange, parse

Address = tuple[str, int]

CONTENT = bytes(range(256)) * (12 << 10)
DIGEST = Digest.of(CONTENT)
UPLOADS = "/v2/team/app/blobs/uploads/"
MANIFEST = "/v2/team/app/manifests/latest"
LEAVE = "Expect: 100-continue\r\n"


@pytest.fixture
async def address(stack: Stack) -> AsyncIterator[Address]:
    settings = ServerSettings(port=0, drain_timeout=timedelta(0))
    async with Server(stack.serving(settings)) as server:
        yield server.address


async def begin(address: Address) -> str:
    return (await exchange(address, f"POST {UPLOADS}")).headers["Location"]


async def reached(address: Address, location: str) -> int:
    """Return how many bytes an upload has that has some."""
    answer = await exchange(address, f"GET {location}")
    assert answer.status == 204
    return int(answer.headers["Range"].removeprefix("0-")) + 1


async def go_on(address: Address, location: str, content: bytes) -> RawAnswer:
    """Send the rest as a client does that lost its connection: the server may not know of the loss yet."""
    while True:
        start = await reached(address, location)
        fields = f"Content-Range: {start}-{len(content) - 1}\r\n"
        query = f"?digest={Digest.of(content)}"
        answer = await send(address, f"PUT {location}{query}", content[start:], fields=fields)
        if answer.status != 416:
            return answer


async def send(address: Address, head: str, content: bytes, fields: str = "") -> RawAnswer:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request(head, f"{fields}Content-Length: {len(content)}\r\nConnection: close\r\n") + content)
    answer = parse(await reader.read())
    writer.close()
    return answer


def request(head: str, fields: str) -> bytes:
    return f"{head} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()


def in_chunks(content: bytes, size: int) -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


async def with_leave(address: Address, head: str, fields: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection on which the server waits for the body of this request."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request(head, fields + LEAVE))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    return reader, writer


@pytest.mark.parametrize("way", ["closed", "reset"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_of_a_body_that_breaks_off_what_came_is_kept(address: Address, framing: str, way: str) -> None:
    location = await begin(address)
    _, writer = await with_leave(address, f"PATCH {location}", framing)
    came = CONTENT[:5000]
    writer.write(in_chunks(came, 5000) if "chunked" in framing else came)
    if way == "reset":
        # What is sent and reset at once may never be read; a client that waits for nothing loses it.
        assert await busy(address, location) == 416
        writer.transport.abort()
    else:
        writer.close()
    answer = await go_on(address, location, CONTENT)
    assert answer.status == 201


async def busy(address: Address, location: str) -> int:
    """Write to an upload that another request writes to."""
    return (await send(address, f"PATCH {location}", b"x")).status


async def test_a_large_body_that_breaks_off_is_resumed_where_the_server_says(address: Address) -> None:
    location = await begin(address)
    _, writer = await with_leave(address, f"PATCH {location}", f"Content-Length: {len(CONTENT)}\r\n")
    sent = CONTENT[: 2 << 20]
    writer.write(sent)
    await writer.drain()
    writer.close()
    answer = await go_on(address, location, CONTENT)
    assert answer.status == 201
    got = await exchange(address, f"GET /v2/team/app/blobs/{DIGEST}")
    assert got.body == CONTENT


async def test_a_body_that_breaks_off_is_no_error_of_the_server(address: Address) -> None:
    location = await begin(address)
    with capture_logs() as logs:
        _, writer = await with_leave(address, f"PATCH {location}", "Content-Length: 10\r\n")
        writer.write(b"12345")
        writer.close()
        assert (await go_on(address, location, b"1234567890")).status == 201
    [event] = [entry for entry in logs if entry["event"] == "request.answered" and entry["broken"]]
    assert (event["status"], event["broken"], event["received"]) == (499, "client left", 5)
    assert {entry["log_level"] for entry in logs} <= {"info", "debug"}


async def test_a_body_in_chunks_of_any_size(address: Address) -> None:
    for size in (1, 7, 70_000):
        content = CONTENT[:size] * 3
        location = await begin(address)
        reader, writer = await with_leave(
            address,
            f"PUT {location}?digest={Digest.of(content)}",
            "Transfer-Encoding: chunked\r\nConnection: close\r\n",
        )
        writer.write(in_chunks(content, size) + b"0\r\n\r\n")
        assert parse(await reader.read()).status == 201
        writer.close()


async def test_while_one_request_writes_another_is_told_to_come_back(address: Address) -> None:
    location = await begin(address)
    reader, writer = await with_leave(address, f"PATCH {location}", "Content-Length: 10\r\nConnection: close\r\n")
    refused = await send(address, f"PATCH {location}", b"12345")
    assert refused.status == 416
    assert b'"BLOB_UPLOAD_INVALID"' in refused.body
    assert refused.headers["Location"] == location
    assert refused.headers["Range"] == "0-0"
    writer.write(b"1234567890")
    assert parse(await reader.read()).headers["Range"] == "0-9"
    writer.close()


@pytest.mark.parametrize(
    ("head", "fields", "status"),
    [
        ("POST /v2/quay/a/blobs/uploads/", "", 405),
        ("PUT /v2/quay/a/manifests/latest", "", 405),
        (f"PUT /open/{MANIFEST[1:]}", "", 405),
        (f"PUT {MANIFEST}?ns=quay.io", "", 405),
        (f"PUT {MANIFEST}", f"Content-Length: {MANIFEST_LIMIT + 1}\r\n", 413),
        (f"PUT {MANIFEST}", "Content-Encoding: gzip\r\n", 415),
        (f"PUT {MANIFEST}?tag=a", "", 400),
        (f"PUT /v2/team/app/manifests/{DIGEST}?tag=.", "", 400),
        ("PUT /v2/team/app/manifests/sha256:abc", "", 400),
        (f"POST {UPLOADS}?digest={DIGEST}", "Content-Encoding: zstd\r\n", 415),
        (f"POST {UPLOADS}?digest=md5:abc", "", 400),
        (f"PATCH {UPLOADS}00000000-0000-4000-8000-000000000000", "", 404),
        (f"PUT {UPLOADS}00000000-0000-4000-8000-000000000000?digest={DIGEST}", "", 404),
        ("PATCH LOCATION", "Content-Range: 5-14\r\n", 416),
        ("PATCH LOCATION", "Content-Range: 0-5\r\n", 416),
        ("PATCH LOCATION", "Content-Range: bytes 0-9/10\r\n", 416),
        ("PATCH LOCATION", "Content-Encoding: gzip\r\n", 415),
        ("PUT LOCATION", "", 400),
        ("PUT LOCATION?digest=sha256:abc", "", 400),
        ("PUT http://evil.example/v2/", "", 421),
    ],
)
async def test_what_headers_refuse_is_refused_before_the_body_is_sent(
    address: Address, head: str, fields: str, status: int
) -> None:
    length = "" if "Content-Length" in fields else "Content-Length: 10\r\n"
    head = head.replace("LOCATION", await begin(address))
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request(head, fields + length + LEAVE))
    top = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert parse(top).status == status
    assert parse(top).headers["X-Request-ID"]


async def test_leave_is_given_once_and_the_answer_follows(address: Address) -> None:
    manifest = b'{"schemaVersion":2}'
    for head, fields, content, status in (
        (f"POST {UPLOADS}?digest={Digest.of(b'12345')}", "", b"12345", 201),
        (f"PUT {MANIFEST}", f"Content-Type: {OCI_MANIFEST}\r\n", manifest, 400),
    ):
        reader, writer = await with_leave(
            address, head, f"{fields}Content-Length: {len(content)}\r\nConnection: close\r\n"
        )
        writer.write(content)
        assert parse(await reader.read()).status == status
        writer.close()


@pytest.mark.parametrize("expected", ["Expect: 200-ok\r\n", "Expect: \r\n"])
async def test_other_expectations_change_nothing(address: Address, expected: str) -> None:
    answer = await send(address, f"POST {UPLOADS}?digest={DIGEST}", CONTENT, expected)
    assert answer.status == 201


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "zstd", "x"])
@pytest.mark.parametrize("head", [f"POST {UPLOADS}?digest={DIGEST}", "PATCH LOCATION", f"PUT {MANIFEST}"])
async def test_encoded_content_is_refused_never_decoded(address: Address, head: str, encoding: str) -> None:
    head = head.replace("LOCATION", await begin(address))
    answer = await send(address, head, b"\x1f\x8b" + b"x" * 100, f"Content-Encoding: {encoding}\r\n")
    assert answer.status == 415
    assert b'"CONTENT_ENCODING_INVALID"' in answer.body
    assert answer.headers["Accept-Encoding"] == "identity"


async def test_identity_is_no_encoding(address: Address) -> None:
    fields = "Content-Encoding: identity\r\n"
    assert (await send(address, f"POST {UPLOADS}?digest={DIGEST}", CONTENT, fields)).status == 201


async def test_a_manifest_in_chunks_that_grows_too_large_is_413(address: Address) -> None:
    reader, writer = await with_leave(address, f"PUT {MANIFEST}", "Transfer-Encoding: chunked\r\nConnection: close\r\n")
    writer.write(in_chunks(b" " * (MANIFEST_LIMIT + 1), 1 << 20) + b"0\r\n\r\n")
    answer = parse(await reader.read())
    writer.close()
    assert answer.status == 413
    assert b'"SIZE_INVALID"' in answer.body


async def test_the_length_of_a_request_without_a_body_is_0(address: Address) -> None:
    location = await begin(address)
    answer = await exchange(address, f"PUT {location}?digest={Digest.of(b'')}")
    assert answer.status == 201


@pytest.mark.parametrize("fields", ["Content-Range: 0-4\r\nContent-Range: 0-4\r\n", "Content-Length: 5\r\n"])
async def test_fields_that_two_readers_could_take_for_two_things_are_refused(address: Address, fields: str) -> None:
    location = await begin(address)
    answer = await send(address, f"PATCH {location}", b"12345", fields)
    assert answer.status == 400


async def test_the_log_tells_how_much_came(address: Address) -> None:
    with capture_logs() as logs:
        await send(address, f"POST {UPLOADS}?digest={DIGEST}", CONTENT)
    [event] = [entry for entry in logs if entry["event"] == "request.answered"]
    assert (event["kind"], event["received"], event["bytes"]) == ("uploads", len(CONTENT), 0)


async def test_a_client_that_sends_nothing_more_is_given_up(aiohttp_server: AiohttpServer) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        request[TRACE] = Trace("r-1", 0.0)
        try:
            async for _ in body.stream(request, ErrorCode.BLOB_UPLOAD_INVALID):
                pass
        except ProxyError as error:
            return render(error)
        return web.Response()

    app = web.Application()
    app[body.PATIENCE] = 0
    app.router.add_put("/", handler)
    server = await aiohttp_server(app)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request("PUT /", "Content-Length: 10\r\n"))
    answer = parse(await reader.readuntil(b"}]}"))
    writer.close()
    assert answer.status == 416
    assert b"no byte came for 0 s" in answer.body
