"""A server on a port, and clients that speak with it byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self

from proxy.config.settings import LimitSettings, MirrorSettings, ServerSettings, TlsSettings
from proxy.http.server import Server
from tests.support.certificates import Authority
from tests.unit.http.conftest import Stack

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Security:
    """With an `authority` connections speak TLS, which is done with `speedups` or by the loop."""

    authority: Authority | None = None
    speedups: Literal["auto", "off"] = "auto"


class Site:
    """A server with limits, and how its clients connect."""

    def __init__(self, stack: Stack, security: Security, *mirrors: str, **limits: object) -> None:
        self.tls = None
        self.trusting: ssl.SSLContext | None = None
        if security.authority is not None:
            files = security.authority.issue()
            self.tls = TlsSettings(certificate=files.certificate, key=files.key)
            self.trusting = security.authority.trusting()
        timing = LimitSettings.model_validate(limits)
        settings = ServerSettings(port=0, tls=self.tls, speedups=security.speedups, limits=timing)
        self.server = Server(stack.serving(settings), [MirrorSettings(port=0, rule=rule) for rule in mirrors])

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    async def open(self, address: tuple[str, int] | None = None) -> Streams:
        name = "localhost" if self.trusting is not None else None
        where = address or self.server.address
        return await asyncio.open_connection(*where, ssl=self.trusting, server_hostname=name)

    @asynccontextmanager
    async def connected(self, address: tuple[str, int] | None = None) -> AsyncIterator[Streams]:
        reader, writer = await self.open(address)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def some_time(self) -> None:
        """Wait for as long as a connection that sends nothing is kept."""
        async with self.connected() as (reader, _):
            assert await rest(reader) == b""


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the other side closes the connection, however it does."""
    received = bytearray()
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            received += data
    return bytes(received)
