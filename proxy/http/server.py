"""Listen, serve, and leave in good order."""

import asyncio
import errno
import signal
import socket
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from aiohttp import http_parser, web

from proxy.config.certificates import CertificateError
from proxy.config.settings import MirrorSettings
from proxy.http.application import build_application
from proxy.http.lifecycle import Lifecycle
from proxy.http.services import Services
from proxy.http.tls import ServerCertificate

_log = structlog.get_logger(__name__)

# Go clients reuse an idle connection for up to 90 s; a server that closes earlier races with their next request.
_KEEPALIVE_SECONDS = 120.0
_BACKLOG = 1024
_LINE_LIMIT = 8190
# Bearer tokens of identity providers outgrow the usual 8 KiB.
_FIELD_LIMIT = 16380
_FIELDS_LIMIT = 100
# Bytes of a connection that wait in the kernel unsent: beyond it writes wait, so slow clients cost little memory.
_UNSENT_LIMIT = 128 << 10
# After the drain: how long a cancelled answer may take to clean up.
_CLOSE_SECONDS = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StartError(Exception):
    """The server cannot start; the message says why and how to mend it, in one sentence."""


class Server:
    """Run the listeners of the registry: the main one and one a mirror.

    Use as an async context manager: inside it requests are served, and leaving it drains. Raises `StartError`.
    """

    def __init__(self, services: Services, mirrors: Sequence[MirrorSettings] = ()) -> None:
        """Prepare nothing yet; the addresses and times are those of `services.server`."""
        self._services = services
        self._mirrors = mirrors
        self._lifecycle = Lifecycle()
        self._runners: list[web.AppRunner] = []
        self._asked_to_stop = asyncio.Event()
        tls = services.server.tls
        self._certificate = ServerCertificate(tls, services.metrics) if tls is not None else None
        self._context: ssl.SSLContext | None = None
        self.scheme = "http" if tls is None else "https"
        """What all listeners speak."""
        self.address: tuple[str, int] = ("", 0)
        """Host and port of the main listener, once started."""
        self.mirror_addresses: dict[str, tuple[str, int]] = {}
        """Host and port of each mirror listener by the prefix of its rule, once started."""

    async def __aenter__(self) -> Self:
        """Start listening."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain and stop listening."""
        await self.stop()

    async def start(self) -> None:
        """Listen on every address, or on none and raise `StartError`."""
        require_fast_parser()
        server = self._services.server
        if self._certificate is not None:
            try:
                self._context = await self._certificate.load()
            except CertificateError as error:
                raise StartError(str(error)) from error
        try:
            self.address = await self._listen(server.port, mirror=None)
            for mirror in self._mirrors:
                self.mirror_addresses[mirror.rule] = await self._listen(mirror.port, mirror=mirror.rule)
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> None:
        """Wait for SIGTERM or SIGINT. A second signal ends the drain that follows at once."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        await self._asked_to_stop.wait()

    async def watch(self) -> None:
        """Follow the files of the certificate until cancelled; return at once where the listeners speak no TLS."""
        if self._certificate is not None:
            await self._certificate.watch()

    def renew(self) -> None:
        """Ask `watch` to look at the certificate now, and return at once: what a signal handler calls."""
        if self._certificate is not None:
            self._certificate.request()

    async def stop(self) -> None:
        """Stop accepting, let running answers end within `drain_timeout`, then close what is left; idempotent."""
        self._lifecycle.draining = True
        if self._runners:
            _log.info("server.draining", connections=len(self.connections))
        for runner in self._runners:
            for site in runner.sites:
                await site.stop()
            if runner.server is not None:
                runner.server.pre_shutdown()
        running = await self._lifecycle.settle(self._services.server.drain_timeout.total_seconds())
        if running:
            _log.warning("server.drain_incomplete", running=running)
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._runners.clear()
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    @property
    def connections(self) -> list[asyncio.BaseTransport]:
        """Return the transports of all open connections."""
        servers = [runner.server for runner in self._runners if runner.server is not None]
        transports = [connection.transport for server in servers for connection in server.connections]
        return [transport for transport in transports if transport is not None]

    def _signalled(self, number: signal.Signals) -> None:
        _log.info("server.signalled", signal=number.name, again=self._asked_to_stop.is_set())
        if self._asked_to_stop.is_set():
            self._lifecycle.hurry()
        self._asked_to_stop.set()

    async def _listen(self, port: int, *, mirror: str | None) -> tuple[str, int]:
        runner = web.AppRunner(
            build_application(self._services, mirror=mirror, lifecycle=self._lifecycle),
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            max_line_size=_LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_FIELDS_LIMIT,
            shutdown_timeout=_CLOSE_SECONDS,
        )
        await runner.setup()
        self._runners.append(runner)
        for sock in await _bind(self._services.server.host, port):
            await web.SockSite(runner, sock, backlog=_BACKLOG, ssl_context=self._context).start()
        host, taken = runner.addresses[0][:2]
        _log.info("server.listening", host=host, port=taken, mirror=mirror, scheme=self.scheme)
        return host, taken


def require_fast_parser() -> None:
    """Raise `StartError` where aiohttp parses requests without its C extension, which is slower and laxer."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise StartError(
            "aiohttp runs without its C parser: install aiohttp from a wheel for this platform, and unset "
            "AIOHTTP_NO_EXTENSIONS"
        )


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Return bound sockets for every address of `host`, all on one port; the caller listens on and closes them."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartError(f"server.host {host} is no address of this machine: {error.strerror}") from error
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            bound.append(sock)
            _configure(sock)
            taken = bound[0].getsockname()[1] if len(bound) > 1 else port
            sock.bind((address[0], taken, *address[2:]))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise StartError(_explain(error, host, port)) from error
    return bound


def _configure(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        # Accepted connections inherit it from the listener.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_LIMIT)


def _explain(error: OSError, host: str, port: int) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is already in use: stop the program that listens there, or configure another port"
        case errno.EACCES:
            return f"{where} needs privileges that this process lacks: configure a port from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"{where} is no address of this machine: correct server.host"
        case _:
            return f"{where} cannot be listened on: {error.strerror}"
