"""Every request that gets an answer leaves one line in the log, whatever it names, if it names anything."""

import asyncio

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import ServerSettings
from proxy.http.server import Server
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import parse

TARGETS = [
    "GET /v2/",
    "GET /",
    "GET *",
    "OPTIONS *",
    "CONNECT localhost:443",
    "CONNECT /v2/",
    "CONNECT localhost",
    "GET http://localhost/v2/",
    "GET http://localhost",
    "GET http://",
    "GET http://localhost:99999/v2/",
    "GET http://[::1/v2/",
    "GET //evil/v2/",
    "GET localhost:80",
    "GET v2/",
    "GET ?a=b",
    "GET #a",
    "GET /%zz/%",
    "GET /v2/a%0Ab/tags/list",
    "PROPFIND /v2/",
    "BREW /",
]


async def send(address: tuple[str, int], target: str) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


@pytest.mark.parametrize("target", TARGETS)
async def test_one_line_for_each_answer(stack: Stack, target: str) -> None:
    async with Server(stack.serving(ServerSettings(port=0))) as running:
        with capture_logs() as logs:
            answer = parse(await send(running.address, target))
    [told] = [entry for entry in logs if entry["event"] == "request.answered"]
    assert (told["status"], told["client"], told["bytes"]) == (answer.status, "127.0.0.1", len(answer.body))
    assert told["request_id"] == answer.headers["X-Request-ID"]
    assert "request.failed" not in {entry["event"] for entry in logs}


async def test_an_expectation_that_nobody_can_meet_is_told(stack: Stack) -> None:
    sent = "PUT /v2/team/app/manifests/x HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\nContent-Length: 0\r\n\r\n"
    async with Server(stack.serving(ServerSettings(port=0))) as running:
        with capture_logs() as logs:
            reader, writer = await asyncio.open_connection(*running.address)
            writer.write(sent.encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
    assert len([entry for entry in logs if entry["event"] == "request.answered"]) == 1
