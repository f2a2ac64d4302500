"""Blobs on their way to a client: nothing but the connection can tell of a failure once the headers are out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
from aiohttp import web
from aiohttp.typedefs import Middleware
from pytest_aiohttp.plugin import AiohttpServer
from structlog.testing import capture_logs

from proxy.core.sources import TransferError
from proxy.http.lifecycle import Lifecycle
from proxy.http.middleware import observe
from proxy.http.reports import Reports
from proxy.http.transfer import send
from proxy.model.cache_status import CacheStatus
from proxy.telemetry.metrics import Metrics
from tests.unit.http.raw import exchange


class Streamed:
    """A source that is on its way: its bytes are those of `body`, whatever was asked for."""

    status = CacheStatus()

    def __init__(self, body: "Body", total: int) -> None:
        self.total = total
        self._body = body

    def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        del start, stop
        return self._body()

    def at_rest(self) -> None:
        return None

    def close(self) -> None:
        """Nothing is open."""


Body = Callable[[], AsyncIterator[bytes]]
Serve = Callable[[Body, int], Awaitable[tuple[str, int]]]


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle()


@pytest.fixture
def serve(aiohttp_server: AiohttpServer, metrics: Metrics, lifecycle: Lifecycle) -> Serve:
    """Return what serves a body, at the address that it returns."""
    return partial(_serve, aiohttp_server, [observe(Reports(metrics), lifecycle)])


async def _serve(
    aiohttp_server: AiohttpServer, middlewares: list[Middleware], body: Body, length: int
) -> tuple[str, int]:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        return await send(request, response, Streamed(body, length), 0, length)

    app = web.Application(middlewares=middlewares)
    app.router.add_get("/", handler)
    server = await aiohttp_server(app)
    return server.host, server.port or 0


def flow(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("pullthrough_bytes_total", {"flow": "client"}) or 0.0


async def test_a_whole_body_arrives_and_is_counted(serve: Serve, metrics: Metrics) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"first "
        yield b"second"

    answer = await exchange(await serve(body, 12), "GET /")
    assert answer.body == b"first second"
    assert flow(metrics) == 12


@pytest.mark.parametrize("error", [TransferError("the digest is wrong"), OSError("disk"), ConnectionError("upstream")])
async def test_a_failure_closes_the_connection_short_of_the_content_length(serve: Serve, error: Exception) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"first "
        raise error

    address = await serve(body, 12)
    with capture_logs() as logs:
        answer = await exchange(address, "GET /")
    assert answer.status == 200
    assert not answer.complete
    assert "transfer.aborted" in [entry["event"] for entry in logs]
    assert [entry["broken"] for entry in logs if entry["event"] == "request.answered"] == ["aborted"]


async def test_a_source_that_gives_too_little_does_not_look_complete(serve: Serve) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"first"

    answer = await exchange(await serve(body, 12), "GET /")
    assert not answer.complete


async def test_a_client_that_leaves_ends_the_body_at_once_and_is_no_error(serve: Serve, lifecycle: Lifecycle) -> None:
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"first "
            await asyncio.Event().wait()
        finally:
            ended.set()

    address = await serve(body, 12)
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"first ")
        writer.close()
        await ended.wait()
        assert await lifecycle.settle(60) == 0
    assert {entry["log_level"] for entry in logs} <= {"debug", "info"}
    assert "transfer.client_left" in [entry["event"] for entry in logs]


async def test_a_client_that_leaves_with_the_last_byte_had_a_whole_answer(serve: Serve, lifecycle: Lifecycle) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"everything"
        await asyncio.Event().wait()

    reader, writer = await asyncio.open_connection(*await serve(body, 10))
    with capture_logs() as logs:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"everything")).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
        assert await lifecycle.settle(10) == 0
    assert [(entry["status"], entry["broken"]) for entry in logs if entry["event"] == "request.answered"] == [
        (200, None)
    ]


async def test_a_client_that_leaves_while_bytes_flow_is_no_error(serve: Serve, lifecycle: Lifecycle) -> None:
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    address = await serve(body, 1 << 40)
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readexactly(100_000)
        writer.transport.abort()
        await ended.wait()
        assert await lifecycle.settle(60) == 0
    assert {entry["log_level"] for entry in logs} <= {"debug", "info"}


async def test_a_fast_client_does_not_keep_others_waiting(serve: Serve) -> None:
    turns = 0

    async def body() -> AsyncIterator[bytes]:
        # Nothing here waits: only the sender can let the loop turn.
        for _ in range(50):
            asyncio.get_running_loop().call_soon(count)
            yield b"x"
            seen.append(turns)

    def count() -> None:
        nonlocal turns
        turns += 1

    seen: list[int] = []
    answer = await exchange(await serve(body, 50), "GET /")
    assert answer.complete
    assert seen == list(range(1, 51))
