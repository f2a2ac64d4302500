"""Listen, serve, and leave in good order."""

import asyncio
import signal
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from aiohttp import http_parser, web

from proxy.config.certificates import CertificateError
from proxy.config.settings import MirrorSettings
from proxy.core.access.caller import Scheme
from proxy.core.tasks import Tasks
from proxy.http.application import build_application
from proxy.http.connections import Connection, Connections, watch_requests
from proxy.http.fields import FIELDS
from proxy.http.lifecycle import Lifecycle
from proxy.http.listening import Handshakes, Listener, Sockets, StartError, bind, connect_by_loop, fastest_connect
from proxy.http.reports import REPORTS
from proxy.http.services import Services
from proxy.http.tls import ServerCertificate
from proxy.telemetry.audit import AuditEvent, AuditKind

_log = structlog.get_logger(__name__)

# After the drain: how long a cancelled answer may take to clean up.
_CLOSE_SECONDS = 0.5
STOPPING = (signal.SIGTERM, signal.SIGINT)
"""The signals that end a server."""


class Server:
    """Run the listeners of the registry: the main one and one a mirror.

    Use as an async context manager: inside it requests are served, and leaving it drains. Raises `StartError`.
    """

    def __init__(
        self, services: Services, mirrors: Sequence[MirrorSettings] = (), sockets: Sockets | None = None
    ) -> None:
        """Prepare nothing yet; addresses and times are those of `services.server`.

        What is in `sockets` was bound by somebody else, who shares it with other processes.
        """
        self._sockets = sockets or {}
        self._services = services
        self._mirrors = mirrors
        self._lifecycle = Lifecycle()
        self._tasks = Tasks()
        self._connections = Connections(services.server.limits.connections, services.metrics)
        self._runners: list[web.AppRunner] = []
        self._listeners: list[Listener] = []
        self._asked_to_stop = asyncio.Event()
        self._signals: tuple[signal.Signals, ...] = ()
        tls = services.server.tls
        self._certificate = (
            ServerCertificate(tls, services.metrics, services.client_ca, self._connections.part)
            if tls is not None
            else None
        )
        # aiofastnet writes the certificate of a client to a file whenever it is asked for it.
        fast = tls is not None and services.client_ca is None
        self._connect = fastest_connect(services.server.speedups) if fast else connect_by_loop
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
                await self._certificate.load()
            except CertificateError as error:
                raise StartError(str(error)) from error
        await self._tasks.__aenter__()
        try:
            self.address = await self._listen(server.port, mirror=None)
            for mirror in self._mirrors:
                self.mirror_addresses[mirror.rule] = await self._listen(mirror.port, mirror=mirror.rule)
        except BaseException:
            await self.stop()
            raise

    def heed(self, signals: Sequence[signal.Signals] = STOPPING, hurrying: Sequence[signal.Signals] = ()) -> None:
        """Let one of the signals end `wait`, from now on. A second one ends the drain that follows at once.

        With `hurrying`, those end the wait and the drain, and the others may come as often as they like.
        """
        loop = asyncio.get_running_loop()
        self._signals = (*signals, *hurrying)
        for number in self._signals:
            loop.add_signal_handler(number, self._signalled, number, hurrying)

    async def wait(self) -> None:
        """Wait for one of the signals that are heeded."""
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
        for listener in self._listeners:
            listener.close()
        for runner in self._runners:
            if runner.server is not None:
                runner.server.pre_shutdown()
        running = await self._lifecycle.settle(self._services.server.drain_timeout.total_seconds())
        if running:
            _log.warning("server.drain_incomplete", running=running)
        await self._tasks.__aexit__(None, None, None)  # who has not even shaken hands
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._runners.clear()
        self._listeners.clear()
        for number in self._signals:
            asyncio.get_running_loop().remove_signal_handler(number)

    @property
    def connections(self) -> list[asyncio.BaseTransport]:
        """Return the transports of all open connections."""
        servers = [runner.server for runner in self._runners if runner.server is not None]
        transports = [connection.transport for server in servers for connection in server.connections]
        return [transport for transport in transports if transport is not None]

    def _context(self) -> ssl.SSLContext | None:
        return self._certificate.context if self._certificate is not None else None

    def _signalled(self, number: signal.Signals, hurrying: Sequence[signal.Signals]) -> None:
        again = self._asked_to_stop.is_set()
        _log.info("server.signalled", signal=number.name, again=again)
        if number in hurrying or (again and not hurrying):
            self._lifecycle.hurry()
        self._asked_to_stop.set()

    async def _note_refusal(self, address: str, reason: str) -> None:
        event = AuditEvent(
            AuditKind.REFUSAL,
            "tls:Handshake",
            scheme=Scheme.CERTIFICATE,
            address=address,
            result="CERTIFICATE_REFUSED",
            detail={"reason": reason},
        )
        await self._services.audit.record(event)

    async def _listen(self, port: int, *, mirror: str | None) -> tuple[str, int]:
        settings = self._services.server
        app = build_application(self._services, mirror=mirror, lifecycle=self._lifecycle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        self._runners.append(runner)
        server, timeout = runner.server, settings.limits.header_timeout.total_seconds()
        fields, reports = app[FIELDS], app[REPORTS]
        assert server is not None  # noqa: S101 - aiohttp's runner has one between setup and cleanup
        watch_requests(server)
        handshakes = Handshakes(self._context, timeout, self._connect, self._note_refusal)
        first = len(self._listeners)
        for sock in self._sockets.get(mirror) or await bind(settings.host, port, settings.limits.send_timeout):
            listener = Listener(
                sock,
                lambda: Connection(server, self._connections, timeout, fields, reports),
                self._connections,
                self._tasks,
                handshakes,
            )
            self._listeners.append(listener)
            listener.start()
        host, taken = self._listeners[first].address
        _log.info("server.listening", host=host, port=taken, mirror=mirror, scheme=self.scheme)
        return host, taken


def require_fast_parser() -> None:
    """Raise `StartError` where aiohttp parses requests without its C extension, which is slower and laxer."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise StartError(
            "aiohttp runs without its C parser: install aiohttp from a wheel for this platform, and unset "
            "AIOHTTP_NO_EXTENSIONS"
        )
