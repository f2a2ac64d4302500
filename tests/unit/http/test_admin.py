"""Health and metrics of the main listener."""

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from proxy.http.application import build_application
from proxy.http.lifecycle import Lifecycle
from tests.unit.http.conftest import Client, Stack


async def test_it_is_alive_before_it_is_ready(client: Client, stack: Stack) -> None:
    stack.health.ready = False
    assert (await client.get("/livez")).status == 200
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["errors"][0]["code"] == "UNAVAILABLE"


async def test_it_is_ready(client: Client) -> None:
    answer = await client.get("/readyz")
    assert (answer.status, await answer.json()) == (200, {"status": "ready"})


async def test_it_is_not_ready_while_draining_and_closes_connections(
    stack: Stack, aiohttp_client: AiohttpClient
) -> None:
    lifecycle = Lifecycle()
    client = await aiohttp_client(build_application(stack.services, mirror=None, lifecycle=lifecycle))
    lifecycle.draining = True
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert answer.headers["Connection"] == "close"
    assert (await client.get("/livez")).status == 200


async def test_metrics_are_prometheus_text(client: Client) -> None:
    answer = await client.get("/metrics")
    assert answer.content_type == "text/plain"
    assert "pullthrough_requests_total" in await answer.text()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head_works(client: Client, path: str) -> None:
    answer = await client.head(path)
    assert answer.status == 200
    assert await answer.read() == b""


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_writes_are_405(client: Client, path: str) -> None:
    answer = await client.post(path)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
