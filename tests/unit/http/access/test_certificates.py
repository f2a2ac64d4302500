"""Whom the certificate of a connection names."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy.config.certificates import Identity, load_identity
from proxy.config.settings import TlsSettings
from proxy.http.access.certificates import principal_of, shows_certificate
from tests.support.certificates import Authority

END = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


class Door:
    """A server that answers whom it takes its clients for, at `now`."""

    def __init__(self, identity: Identity, authority: Authority) -> None:
        self.identity = identity
        self.authority = authority
        self.now: float | None = None
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        shows = shows_certificate(request.transport)
        return web.json_response([principal_of(request, self.now), shows])

    @asynccontextmanager
    async def open(self, context: ssl.SSLContext | None) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def client(self, shown: Path | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(ssl=self.authority.trusting(shown), limit=1)
        async with aiohttp.ClientSession(f"https://127.0.0.1:{self.port}", connector=connector) as client:
            yield client

    async def who(self, shown: Path | None = None) -> str | None:
        async with self.client(shown) as client:
            return await told(client)


async def told(client: aiohttp.ClientSession) -> str | None:
    async with client.get("/") as answer:
        principal, _ = await answer.json()
        return principal if isinstance(principal, str) else None


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def door(authority: Authority) -> AsyncIterator[Door]:
    files = authority.issue()
    tls = TlsSettings(certificate=files.certificate, key=files.key)
    identity = await asyncio.to_thread(load_identity, tls, authority.file)
    door = Door(identity, authority)
    async with door.open(identity.context):
        yield door


async def test_the_common_name_is_the_principal(door: Door, authority: Authority) -> None:
    for name in ("builder", "build.example.com", "Erika Mustermann", "b\u00fcro-7", "x" * 64, "a:b"):
        assert await door.who(authority.client(name)) == f"cert:{name}"


async def test_without_a_certificate_nobody_is_named(door: Door) -> None:
    assert await door.who() is None


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("builder", "admin"),
        ("x" * 65,),
        (" ",),
        (" builder",),
        ("builder ",),
        ("a  b",),
        ("buil\tder",),
        ("buil\nder",),
        ("admin\0builder",),
        ("\u202enimda",),
        ("a\u00a0b",),
        # In policies these would mean others, too.
        ("*",),
        ("*.example.com",),
    ],
)
async def test_a_certificate_with_no_one_fit_name_names_nobody(
    door: Door, authority: Authority, names: tuple[str, ...]
) -> None:
    assert await door.who(authority.client(*names)) is None


async def test_a_certificate_ends_while_its_connection_lasts(door: Door, authority: Authority) -> None:
    async with door.client(authority.client("builder", end=END)) as client:
        door.now = END.timestamp() - 1
        assert await told(client) == "cert:builder"
        door.now = END.timestamp()
        assert await told(client) is None


async def test_nobody_is_known_by_an_authority_that_was_replaced(door: Door, authority: Authority) -> None:
    async with door.client(authority.client("builder")) as client:
        assert await told(client) == "cert:builder"
        door.identity.context.retired = True
        assert await told(client) is None


async def test_certificates_that_nobody_asked_for_name_nobody(authority: Authority) -> None:
    files = authority.issue()
    identity = await asyncio.to_thread(load_identity, TlsSettings(certificate=files.certificate, key=files.key))
    door = Door(identity, authority)
    async with door.open(identity.context):
        assert await door.who(authority.client("builder")) is None


async def test_connections_without_tls_name_nobody(door: Door) -> None:
    async with door.open(None), aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{door.port}") as told:
        assert await told.json() == [None, False]
