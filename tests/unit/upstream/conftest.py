import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from proxy.config.settings import UpstreamSettings
from proxy.core.buckets import Sleep
from proxy.core.registry.secrets.ports import SecretLogins
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from proxy.upstream.retries import Retries
from tests.support.clock import FakeClock
from tests.support.upstream_registry import TokenServer
from tests.support.upstream_server import UpstreamServer

HOSTS = (
    "registry.example.com",
    "auth.example.com",
    "storage.example.net",
    "other.example.org",
    "registry-1.docker.io",
    "auth.docker.io",
    "evil.test",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    "registry.gitlab.com",
    "gitlab.com",
    "registry.k8s.io",
    "us-west1-docker.pkg.dev",
    "ghcr.io",
    "github.com",
    "quay.io",
    "nvcr.io",
    "authn.nvidia.com",
    "mine.azurecr.io",
    "cdn-a.example.net",
    "cdn-b.example.net",
)

Opener = Callable[..., Awaitable[UpstreamClient]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer(HOSTS, tmp_path) as running:
        yield running


@pytest.fixture
def silent_registry(server: UpstreamServer) -> Iterator[None]:
    """Let ``registry.example.com`` take requests and answer none as long as the test runs."""
    over = asyncio.Event()

    async def wait(_: web.BaseRequest) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    server.script("registry.example.com", wait)
    yield
    # The server ends after this, and waits for its handlers.
    over.set()


@pytest.fixture(autouse=True)
def alice(monkeypatch: pytest.MonkeyPatch) -> str:
    """The password of `ALICE`, where rules look for it."""
    password = "wonder:land"
    monkeypatch.setenv("ALICE_PASSWORD", password)
    return password


@pytest.fixture
def tokens(server: UpstreamServer, clock: FakeClock, alice: str) -> TokenServer:
    """The token server of ``registry.example.com``: everyone may pull ``team/open``, alice all."""
    return TokenServer(server, "auth.example.com", clock, "registry", {"team/open"}, {"alice": alice})


@pytest.fixture
def pauses() -> list[float]:
    """The pauses between attempts, which no test waits for."""
    return []


@pytest.fixture
async def connect(
    server: UpstreamServer, clock: FakeClock, metrics: Metrics, pauses: list[float]
) -> AsyncIterator[Opener]:
    """Open upstream clients that reach all hosts of the server; keywords change the settings."""

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with AsyncExitStack() as opened:

        async def open_client(
            lookup: AbstractResolver | None = None,
            sleep: Sleep = asyncio.sleep,
            secrets: SecretLogins | None = None,
            **changes: Any,  # noqa: ANN401 - any key of the settings
        ) -> UpstreamClient:
            values: dict[str, Any] = {
                "connect_to": server.connect_to,
                "ca_file": server.ca_file,
                "stall_timeout": timedelta(seconds=5),
            }
            settings = UpstreamSettings(**(values | changes))
            retries = Retries(lambda _, ceiling: ceiling, pause)
            client = UpstreamClient(
                settings, clock, metrics, secrets=secrets, retries=retries, lookup=lookup, sleep=sleep
            )
            return await opened.enter_async_context(client)

        yield open_client


@pytest.fixture
async def client(connect: Opener) -> UpstreamClient:
    return await connect()
