"""Listening sockets: where they are bound, and how connections are accepted."""

import asyncio
import errno
import importlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import structlog

from proxy.core.tasks import Tasks
from proxy.http.connections import Connection, Connections
from proxy.model.hosts import authority

_log = structlog.get_logger(__name__)

_BACKLOG = 1024
# Bytes of a connection that wait in the kernel unsent: beyond it writes wait, so slow clients cost little memory.
_UNSENT_LIMIT = 128 << 10
# Until the machine has file descriptors and memory again.
_RETRY_SECONDS = 1.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LONGEST_TIMEOUT = 2**31 - 1


class StartError(Exception):
    """The server cannot start; the message says why and how to mend it, in one sentence."""


Connect = Callable[..., Awaitable[object]]
"""Make a connection of a loop, what makes its protocol, a socket, and the options of `connect_accepted_socket`."""


@dataclass(frozen=True, slots=True)
class Handshakes:
    """How connections begin: made by `connect`, within `timeout` seconds, with TLS where there is a `context` then.

    `refused` is told of each client certificate that is not good: the address of who showed it, and why.
    """

    context: Callable[[], ssl.SSLContext | None]
    timeout: float
    connect: Connect
    refused: Callable[[str, str], Awaitable[None]]


def connect_by_loop(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: Callable[[], asyncio.Protocol],
    sock: socket.socket,
    **options: Any,  # noqa: ANN401 - passed on
) -> Awaitable[object]:
    """Have the loop make the connection: the `Connect` that is always there."""
    return loop.connect_accepted_socket(protocol_factory, sock, **options)


def fastest_connect(speedups: Literal["auto", "off"]) -> Connect:
    """Return what TLS costs least by: aiofastnet's, where it is installed and wanted."""
    if speedups == "auto":
        try:
            found: Connect = importlib.import_module("aiofastnet").connect_accepted_socket
        except ImportError:
            return connect_by_loop
        return found
    return connect_by_loop


class Listener:
    """Accept the connections of one bound socket while `connections` has places for them.

    `make` returns the protocol of a new connection; it runs in `tasks` until the handshake is through. The listener
    owns the socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], Connection],
        connections: Connections,
        tasks: Tasks,
        handshakes: Handshakes,
    ) -> None:
        """Begin to listen; `start` begins to accept."""
        self._sock = sock
        self._make = make
        self._connections = connections
        self._tasks = tasks
        self._handshakes = handshakes
        self._retry: asyncio.TimerHandle | None = None
        self._resume = self.start
        sock.setblocking(False)  # noqa: FBT003 - the socket API
        sock.listen(_BACKLOG)

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Accept what comes."""
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Accept nothing more; idempotent. Connections that were accepted stay."""
        self._pause()
        self._connections.forget(self._resume)
        if self._retry is not None:
            self._retry.cancel()
        self._sock.close()

    def _pause(self) -> None:
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)

    def _accept(self) -> None:
        for accepted_before in range(_BACKLOG):
            if self._connections.full:
                if not accepted_before:  # otherwise there may be nobody who waits
                    self._pause()
                    self._connections.wait(self._resume)
                return
            try:
                accepted, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                _log.error("server.cannot_accept", error=error.strerror)
                self._pause()
                self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.start)
                return
            accepted.setblocking(False)  # noqa: FBT003 - the socket API
            connection = self._make()
            self._connections.add(connection)
            self._tasks.spawn("begin a connection", self._establish(accepted, address[0], connection))

    async def _establish(self, accepted: socket.socket, address: str, connection: Connection) -> None:
        context, timeout = self._handshakes.context(), self._handshakes.timeout
        seconds = timeout if context is not None else None
        connect = self._handshakes.connect
        try:
            await connect(
                asyncio.get_running_loop(),
                lambda: connection,
                accepted,
                ssl=context,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError as error:
            # The client left, speaks no TLS, or took too long. ssl.SSLError is an OSError.
            _log.debug("connection.refused", error=type(error).__name__)
            self._connections.discard(connection)
            if isinstance(error, ssl.SSLCertVerificationError):
                await self._handshakes.refused(address, error.verify_message)
        except BaseException:
            self._connections.discard(connection)
            raise


Sockets = Mapping[str | None, Sequence[socket.socket]]
"""Bound sockets of the main listener (None) and of each mirror, by the prefix of its rule."""


async def bind(host: str, port: int, send_timeout: timedelta) -> list[socket.socket]:
    """Return bound sockets for every address of `host`, all on one port, for the caller to close; raise `StartError`.

    Their connections are closed by the kernel where a client takes no byte for `send_timeout`.
    """
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
            _configure(sock, send_timeout)
            taken = bound[0].getsockname()[1] if len(bound) > 1 else port
            sock.bind((address[0], taken, *address[2:]))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise StartError(_explain(error, host, port)) from error
    return bound


def _configure(sock: socket.socket, send_timeout: timedelta) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # Accepted connections inherit these from the listener.
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_LIMIT)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Only the kernel knows what a client took: bytes lie in its buffers, whoever wrote them. It also ends what the
        # program has closed and cannot get rid of, and clients that close their window but go on answering (RFC 9293
        # §3.8.6.1 would have them kept for ever; tcp(7)).
        milliseconds = min(max(1, int(send_timeout.total_seconds() * 1000)), _LONGEST_TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _explain(error: OSError, host: str, port: int) -> str:
    where = authority(host, port)
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is already in use: stop the program that listens there, or configure another port"
        case errno.EACCES:
            return f"{where} needs privileges that this process lacks: configure a port from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"{where} is no address of this machine: correct server.host"
        case _:
            return f"{where} cannot be listened on: {error.strerror}"
