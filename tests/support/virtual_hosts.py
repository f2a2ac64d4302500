"""Many hosts on one loopback port: real host names by `connect_to`, TLS by a certificate authority of our own."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """Serve `handler` on a loopback port, by TLS where there is a `context`; `stop` and `resume` take it off and back.

    The handler is cancelled when a client leaves.
    """

    def __init__(self, handler: Handler) -> None:
        self.port = 0
        self.context: ssl.SSLContext | None = None
        self._handler = handler
        self._runner: web.ServerRunner | None = None

    async def stop(self) -> None:
        """Close the port and every connection; new ones are refused."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def resume(self) -> None:
        """Listen, after a `stop` on the port of before."""
        runner = web.ServerRunner(web.Server(self._handler, handler_cancellation=True), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.context, reuse_address=True).start()
        self.port = runner.addresses[0][1]
        self._runner = runner


class VirtualHosts(Listener):
    """Serve `hosts` with one handler. Use as an async context manager.

    TLS handshakes for a name in `broken_tls` fail.
    """

    def __init__(
        self,
        hosts: tuple[str, ...],
        folder: Path,
        handler: Handler,
        *,
        tls: bool = True,
        authority: trustme.CA | None = None,
    ) -> None:
        super().__init__(handler)
        self.hosts = hosts
        self.broken_tls: set[str] = set()
        self._folder = folder
        self._tls = tls
        self._authority = authority

    @property
    def ca_file(self) -> Path:
        return self._folder / "ca.pem"

    @property
    def connect_to(self) -> dict[str, str]:
        """Return the map that leads a client's connections to all hosts here."""
        return dict.fromkeys(self.hosts, f"127.0.0.1:{self.port}")

    async def __aenter__(self) -> Self:
        if self._tls:
            self.context = await asyncio.to_thread(self._prepare_tls)
        await self.resume()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _prepare_tls(self) -> ssl.SSLContext:
        authority = self._authority or trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*self.hosts).configure_cert(context)
        context.sni_callback = self._refusal
        return context

    def _refusal(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE if name in self.broken_tls else None
