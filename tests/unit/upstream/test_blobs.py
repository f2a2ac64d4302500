import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest
from aiohttp import web

from proxy.core.ports import BlobBody
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from tests.support.clock import FakeClock
from tests.support.upstream_registry import FakeRegistry, Storage, TokenServer
from tests.support.upstream_rules import counted, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing, redirecting
from tests.support.virtual_hosts import Handler
from tests.unit.upstream.conftest import Opener

REGISTRY, STORAGE, AUTH = "registry.example.com", "storage.example.net", "auth.example.com"
REMOTE = remote_of(REGISTRY)
DATA = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(256)) * 64  # 512 KiB
DIGEST = Digest.of(DATA)
TAG = f'"{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"'


@pytest.fixture
def plain(server: UpstreamServer) -> FakeRegistry:
    """A registry that sends blobs itself."""
    registry = FakeRegistry(server, REGISTRY)
    registry.put_blob(DATA)
    return registry


@pytest.fixture
def storage(server: UpstreamServer, clock: FakeClock) -> Storage:
    return Storage(server, STORAGE, clock)


@pytest.fixture
def signed(server: UpstreamServer, storage: Storage, clock: FakeClock) -> FakeRegistry:
    """A registry with tokens that redirects blobs to signed links."""
    tokens = TokenServer(server, AUTH, clock, "registry", {"team/app"})
    registry = FakeRegistry(server, REGISTRY, tokens, storage)
    registry.put_blob(DATA)
    return registry


async def read(opening: AbstractAsyncContextManager[BlobBody]) -> tuple[BlobBody, bytes]:
    async with opening as body:
        return body, b"".join([chunk async for chunk in body.chunks()])


async def drain(opening: AbstractAsyncContextManager[BlobBody], take: Callable[[bytes], object]) -> None:
    async with opening as body:
        async for chunk in body.chunks():
            take(chunk)


async def failure_of(opening: AbstractAsyncContextManager[BlobBody]) -> UpstreamFailure:
    with pytest.raises(UpstreamError) as caught:
        await read(opening)
    return caught.value.failure


async def test_a_blob_comes_whole(client: UpstreamClient, plain: FakeRegistry, metrics: Metrics) -> None:
    body, data = await read(client.open_blob(REMOTE, DIGEST))
    assert data == DATA
    assert (body.start, body.total, body.validator) == (0, len(DATA), f"{REGISTRY} {TAG}")
    assert "Range" not in plain.server.journal[0].headers
    assert counted(metrics, "pullthrough_bytes_total", flow="upstream") == len(DATA)


async def test_an_empty_blob_is_a_blob(client: UpstreamClient, plain: FakeRegistry) -> None:
    body, data = await read(client.open_blob(REMOTE, plain.put_blob(b"")))
    assert (body.total, data) == (0, b"")


async def test_a_transfer_is_resumed_at_a_byte(client: UpstreamClient, plain: FakeRegistry) -> None:
    body, data = await read(client.open_blob(REMOTE, DIGEST, 1000, f"{REGISTRY} {TAG}"))
    assert data == DATA[1000:]
    assert (body.start, body.total, body.validator) == (1000, len(DATA), f"{REGISTRY} {TAG}")
    headers = plain.server.journal[0].headers
    assert (headers["Range"], headers["If-Range"]) == ("bytes=1000-", TAG)


@pytest.mark.parametrize(("start", "stop", "asked"), [(0, 500, "bytes=0-499"), (1000, 1500, "bytes=1000-1499")])
async def test_a_piece_is_asked_for_and_says_where_it_ends(
    client: UpstreamClient, plain: FakeRegistry, start: int, stop: int, asked: str
) -> None:
    body, data = await read(client.open_blob(REMOTE, DIGEST, start, "", stop))
    assert plain.server.journal[0].headers["Range"] == asked
    assert (body.start, body.stop, body.total, data) == (start, stop, len(DATA), DATA[start:stop])


async def test_a_piece_that_ends_with_the_blob_may_be_shorter(client: UpstreamClient, plain: FakeRegistry) -> None:
    assert plain.blobs
    body, data = await read(client.open_blob(REMOTE, DIGEST, 1000, "", len(DATA) + 1000))
    assert (body.stop, data) == (len(DATA), DATA[1000:])


async def test_an_upstream_that_ignores_ranges_says_so_by_where_its_answer_starts(
    client: UpstreamClient, server: UpstreamServer
) -> None:
    server.script(REGISTRY, answering(200, DATA))
    body, data = await read(client.open_blob(REMOTE, DIGEST, 1000, "", 2000))
    assert (body.start, body.stop, data) == (0, len(DATA), DATA)


async def test_less_than_the_piece_is_garbage(client: UpstreamClient, server: UpstreamServer) -> None:
    part = answering(206, DATA[1000:1500], {"Content-Range": f"bytes 1000-1499/{len(DATA)}"})
    server.script(REGISTRY, part)
    assert await failure_of(client.open_blob(REMOTE, DIGEST, 1000, "", 2000)) is UpstreamFailure.GARBAGE


async def test_without_a_validator_there_is_no_if_range(client: UpstreamClient, plain: FakeRegistry) -> None:
    await read(client.open_blob(REMOTE, DIGEST, 1000))
    assert "If-Range" not in plain.server.journal[0].headers


async def test_a_changed_entity_comes_from_its_start(client: UpstreamClient, plain: FakeRegistry) -> None:
    assert plain.blobs
    body, data = await read(client.open_blob(REMOTE, DIGEST, 1000, '"another"'))
    assert (body.start, data) == (0, DATA)


async def test_a_part_from_elsewhere_says_where_it_starts(client: UpstreamClient, server: UpstreamServer) -> None:
    part = answering(206, DATA[500:], {"Content-Range": f"bytes 500-{len(DATA) - 1}/{len(DATA)}"})
    server.script(REGISTRY, part)
    body, data = await read(client.open_blob(REMOTE, DIGEST, 1000))
    assert (body.start, body.total, data) == (500, len(DATA), DATA[500:])


async def test_a_weak_entity_tag_is_no_validator(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, answering(200, DATA, {"ETag": 'W/"x"'}))
    body, _ = await read(client.open_blob(REMOTE, DIGEST))
    assert body.validator == ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Range": "bytes */10"},
        {"Content-Range": "bytes 5-9/*"},
        {"Content-Range": "items 5-9/10"},
        {"Content-Range": "bytes 5-8/10"},
        {"Content-Range": "bytes 5-9/9"},
        {"Content-Range": "bytes 9-5/10"},
        {"Content-Range": "bytes 4-9/10"},
        {"Content-Range": "bytes 5-9/10, bytes 5-9/10"},
    ],
)
async def test_a_part_with_an_impossible_range_is_garbage(
    client: UpstreamClient, server: UpstreamServer, headers: Mapping[str, str]
) -> None:
    server.script(REGISTRY, answering(206, b"56789", headers))
    assert await failure_of(client.open_blob(REMOTE, DIGEST, 5)) is UpstreamFailure.GARBAGE


@pytest.mark.parametrize(
    ("handler", "start", "failure"),
    [
        (answering(206, b"0", {"Content-Range": "bytes 0-0/1"}), 0, UpstreamFailure.GARBAGE),
        (answering(416, headers={"Content-Range": "bytes */10"}), 10, UpstreamFailure.GARBAGE),
        (answering(200, b"<html>", content_type="text/html; charset=x"), 0, UpstreamFailure.GARBAGE),
        (answering(200, b"x", {"Content-Encoding": "gzip"}), 0, UpstreamFailure.GARBAGE),
        (failing(404, "BLOB_UNKNOWN"), 0, UpstreamFailure.NOT_FOUND),
        (failing(404, "NAME_UNKNOWN"), 0, UpstreamFailure.NOT_FOUND),
        (answering(404, b"<html>", content_type="text/html"), 0, UpstreamFailure.GARBAGE),
        (failing(403, "DENIED"), 0, UpstreamFailure.DENIED),
        (answering(500), 0, UpstreamFailure.SERVER_ERROR),
        (failing(429, "TOOMANYREQUESTS"), 0, UpstreamFailure.RATE_LIMITED),
    ],
)
async def test_other_answers_are_failures(
    client: UpstreamClient, server: UpstreamServer, handler: Handler, start: int, failure: UpstreamFailure
) -> None:
    server.script(REGISTRY, handler)
    assert await failure_of(client.open_blob(REMOTE, DIGEST, start)) is failure


async def test_a_blob_without_length_gets_it_from_a_head(client: UpstreamClient, plain: FakeRegistry) -> None:
    plain.server.script(REGISTRY, answering(200, DATA, {"Transfer-Encoding": "chunked"}), method="GET")
    body, data = await read(client.open_blob(REMOTE, DIGEST))
    assert (body.total, data) == (len(DATA), DATA)
    assert [visit.method for visit in plain.server.journal] == ["GET", "HEAD"]


async def test_a_blob_without_any_length_is_garbage(client: UpstreamClient, plain: FakeRegistry) -> None:
    plain.server.script(REGISTRY, answering(200, DATA, {"Transfer-Encoding": "chunked"}))
    assert await failure_of(client.open_blob(REMOTE, DIGEST)) is UpstreamFailure.GARBAGE


@pytest.mark.parametrize(
    ("size", "failure"), [(len(DATA) - 1, UpstreamFailure.GARBAGE), (len(DATA) + 1, UpstreamFailure.UNREACHABLE)]
)
async def test_a_chunked_blob_must_be_as_long_as_it_said(
    client: UpstreamClient, server: UpstreamServer, size: int, failure: UpstreamFailure
) -> None:
    server.script(REGISTRY, answering(200, DATA, {"Transfer-Encoding": "chunked"}), method="GET")
    server.script(REGISTRY, answering(200, headers={"Content-Length": str(size)}), method="HEAD")
    assert await failure_of(client.open_blob(REMOTE, DIGEST)) is failure


async def test_a_transfer_that_breaks_off_says_so_after_what_arrived(
    client: UpstreamClient, server: UpstreamServer
) -> None:
    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:1000])
        assert request.transport is not None
        request.transport.abort()
        return response

    server.script(REGISTRY, broken)
    received: list[bytes] = []
    with pytest.raises(UpstreamError) as caught:
        await drain(client.open_blob(REMOTE, DIGEST), received.append)
    assert caught.value.failure is UpstreamFailure.UNREACHABLE
    assert b"".join(received) == DATA[:1000]


async def test_a_transfer_that_stalls_times_out(server: UpstreamServer, connect: Opener) -> None:
    client = await connect(stall_timeout=timedelta(milliseconds=50))
    left = asyncio.Event()

    async def stalling(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:1000])
        await left.wait()
        return response

    server.script(REGISTRY, stalling)
    assert await failure_of(client.open_blob(REMOTE, DIGEST)) is UpstreamFailure.TIMEOUT
    left.set()


async def test_a_transfer_that_drips_times_out(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock
) -> None:
    taken = asyncio.Event()

    async def dripping(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        for number in range(100):
            clock.advance(7)
            await response.write(bytes([number]))
            await taken.wait()
            taken.clear()
        return response

    server.script(REGISTRY, dripping)
    received: list[bytes] = []

    def take(chunk: bytes) -> None:
        received.append(chunk)
        taken.set()

    with pytest.raises(UpstreamError) as caught:
        await drain(client.open_blob(REMOTE, DIGEST), take)
    assert caught.value.failure is UpstreamFailure.TIMEOUT
    assert len(received) in {8, 9}  # windows of a minute, seven seconds a byte
    taken.set()


class TestSignedLinks:
    async def test_the_link_is_used_to_the_letter_and_without_authorization(
        self, client: UpstreamClient, signed: FakeRegistry
    ) -> None:
        body, data = await read(client.open_blob(REMOTE, DIGEST))
        assert data == DATA
        assert body.validator == f"{STORAGE} {TAG}"
        (visit,) = signed.server.visits(STORAGE)
        assert "Authorization" not in visit.headers
        assert "%2F" in visit.target
        assert "%2B" in visit.target

    async def test_an_expired_link_is_replaced_once(
        self, client: UpstreamClient, signed: FakeRegistry, pauses: list[float]
    ) -> None:
        signed.server.script(STORAGE, answering(403), times=1)
        _, data = await read(client.open_blob(REMOTE, DIGEST, 1000))
        assert data == DATA[1000:]
        assert len(signed.server.visits(REGISTRY, containing="/blobs/")) == 3  # one to be challenged
        assert pauses == [0.0]

    @pytest.mark.parametrize("status", [400, 401, 403])
    async def test_a_link_that_never_works_is_the_upstreams_failure(
        self, client: UpstreamClient, signed: FakeRegistry, status: int
    ) -> None:
        signed.server.script(STORAGE, answering(status))
        assert await failure_of(client.open_blob(REMOTE, DIGEST)) is UpstreamFailure.SERVER_ERROR
        assert len(signed.server.visits(STORAGE)) == 2
        assert len(signed.server.visits(AUTH)) == 1

    async def test_a_404_of_the_storage_is_no_proof(self, client: UpstreamClient, signed: FakeRegistry) -> None:
        signed.server.script(STORAGE, failing(404, "BLOB_UNKNOWN"))
        assert await failure_of(client.open_blob(REMOTE, DIGEST)) is UpstreamFailure.GARBAGE

    async def test_the_size_is_known_from_head(self, client: UpstreamClient, signed: FakeRegistry) -> None:
        assert await client.head_blob(REMOTE, DIGEST) == len(DATA)
        assert {visit.method for visit in signed.server.visits(STORAGE)} == {"HEAD"}

    async def test_a_link_signed_for_get_only_tells_the_size_by_one_byte(
        self, client: UpstreamClient, signed: FakeRegistry, storage: Storage
    ) -> None:
        storage.signs_head = False
        assert await client.head_blob(REMOTE, DIGEST) == len(DATA)
        last = signed.server.visits(STORAGE)[-1]
        assert (last.method, last.headers["Range"]) == ("GET", "bytes=0-0")


async def test_head_of_an_absent_blob_is_not_found(client: UpstreamClient, plain: FakeRegistry) -> None:
    assert await client.head_blob(REMOTE, DIGEST) == len(DATA)
    plain.blobs.clear()
    with pytest.raises(UpstreamError) as caught:
        await client.head_blob(REMOTE, DIGEST)
    assert caught.value.failure is UpstreamFailure.NOT_FOUND


async def test_a_redirect_of_a_blob_to_a_private_address_is_refused(
    client: UpstreamClient, server: UpstreamServer
) -> None:
    server.script(REGISTRY, redirecting("https://169.254.169.254/latest/meta-data"))
    assert await failure_of(client.open_blob(REMOTE, DIGEST)) is UpstreamFailure.REFUSED_TARGET


async def test_a_slow_reader_is_not_a_slow_upstream(
    client: UpstreamClient, plain: FakeRegistry, clock: FakeClock
) -> None:
    assert plain.blobs
    received = b""
    async with client.open_blob(REMOTE, DIGEST) as body:
        async for chunk in body.chunks():
            received += chunk
            clock.advance(3600)
    assert received == DATA


async def test_leaving_early_gives_the_connection_back(plain: FakeRegistry, connect: Opener, clock: FakeClock) -> None:
    client = await connect()
    remote = remote_of(REGISTRY, max_connections=1)
    for _ in range(3):
        async with client.open_blob(remote, DIGEST) as body:
            assert body.total == len(DATA)
    assert len(plain.server.journal) == 3
    assert clock.now()


class TestResuming:
    """A transfer that broke off goes on by a new request to the registry."""

    async def test_an_old_link_is_never_used_again(
        self, client: UpstreamClient, signed: FakeRegistry, clock: FakeClock
    ) -> None:
        async with client.open_blob(REMOTE, DIGEST) as body:
            validator = body.validator
        clock.advance(601)  # the link has expired, and the token with it
        _, rest = await read(client.open_blob(REMOTE, DIGEST, 1000, validator))
        assert rest == DATA[1000:]
        first, second = signed.server.visits(STORAGE)
        assert first.target != second.target
        assert (second.headers["Range"], second.headers["If-Range"]) == ("bytes=1000-", TAG)
        assert len(signed.server.visits(AUTH)) == 2

    async def test_a_new_link_that_is_refused_is_replaced_once(
        self, client: UpstreamClient, signed: FakeRegistry
    ) -> None:
        signed.server.script(STORAGE, answering(403))
        assert await failure_of(client.open_blob(REMOTE, DIGEST, 1000)) is UpstreamFailure.SERVER_ERROR
        assert len(signed.server.visits(STORAGE)) == 2

    async def test_another_storage_has_tags_of_its_own(self, client: UpstreamClient, server: UpstreamServer) -> None:
        for host, tag in (("cdn-a.example.net", '"a"'), ("cdn-b.example.net", '"b"')):
            server.handlers[host] = tagged(tag)
            server.script(REGISTRY, redirecting(f"https://{host}/{DIGEST}"), times=1)
        async with client.open_blob(REMOTE, DIGEST) as body:
            validator = body.validator
        assert validator == 'cdn-a.example.net "a"'
        resumed, rest = await read(client.open_blob(REMOTE, DIGEST, 1000, validator))
        assert (resumed.start, resumed.total, rest) == (1000, len(DATA), DATA[1000:])
        assert resumed.validator == ""  # nothing to compare: size and digest must do
        (visit,) = server.visits("cdn-b.example.net")
        assert "If-Range" not in visit.headers

    async def test_the_same_storage_with_another_tag_has_other_bytes(
        self, client: UpstreamClient, server: UpstreamServer
    ) -> None:
        server.script(REGISTRY, redirecting(f"https://cdn-a.example.net/{DIGEST}"))
        server.handlers["cdn-a.example.net"] = tagged('"new"')
        body, data = await read(client.open_blob(REMOTE, DIGEST, 1000, 'cdn-a.example.net "old"'))
        assert (body.start, data) == (0, DATA)
        assert body.validator == 'cdn-a.example.net "new"'


def tagged(tag: str) -> Handler:
    """Return a storage that has the blob under an entity tag of its own."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        wanted = request.headers.get("Range")
        if wanted is None or request.headers.get("If-Range", tag) != tag:
            return await answering(200, DATA, {"ETag": tag})(request)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": tag, "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
        return await answering(206, DATA[start:], headers)(request)

    return handler
