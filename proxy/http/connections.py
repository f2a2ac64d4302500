"""Connections of clients: how many there may be, how long each may take, and what is said of what is no HTTP."""

import asyncio
import heapq
import secrets
import time
from collections.abc import Callable, Mapping
from itertools import count
from operator import itemgetter
from typing import Any, Final

import structlog
from aiohttp import web

from proxy.http.access.certificates import shows_certificate
from proxy.http.oci.errors import render
from proxy.http.reports import Reports
from proxy.http.trace import TRACE, OtherKind, Trace
from proxy.model.errors import ErrorCode, ProxyError
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

# Go clients reuse an idle connection for up to 90 s; a server that closes earlier races with their next request.
_KEEPALIVE_SECONDS: Final = 120.0
_LINE_LIMIT: Final = 8190
# Bearer tokens of identity providers outgrow the usual 8 KiB.
_FIELD_LIMIT: Final = 16380
_FIELDS_LIMIT: Final = 100
# How often the log says that all places are taken: they may be given up and taken again many times a second.
_TOLD_EVERY: Final = 60.0
# Of all places, those that idle connections leave at a time: to look for them costs more than to leave them.
_SHARE: Final = 64

_rests: Final = count(1)


class Connections:
    """The places for connections of all listeners of a server.

    Who finds none free waits in the kernel's queue, unaccepted: a burst is then late, where an answer of 503 would fail
    it although a place comes free in a moment, and would cost a TLS handshake each. While somebody waits, connections
    that are only kept for later requests lose their places, the longest idle first; all others by the timeouts.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        """Begin with `limit` free places."""
        self._limit = limit
        self._open: set[Connection] = set()
        self._waiting: list[Callable[[], None]] = []
        self._told = float("-inf")
        self._gauge = metrics.connections

    @property
    def full(self) -> bool:
        """Tell whether no place is free."""
        return len(self._open) >= self._limit

    def add(self, connection: "Connection") -> None:
        """Give a connection its place."""
        self._open.add(connection)
        self._gauge.set(len(self._open))

    def discard(self, connection: "Connection") -> None:
        """Take the place of a connection back, if it has one, and let a listener that waits go on."""
        self._open.discard(connection)
        self._gauge.set(len(self._open))
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    def part(self) -> None:
        """Have clients begin anew, each after the answer that it waits for, that are known by a certificate."""
        for connection in tuple(self._open):
            if shows_certificate(connection.transport):
                connection.part()

    def wait(self, resume: Callable[[], None]) -> None:
        """Have `resume` called once, as soon as a place may be free."""
        now = asyncio.get_running_loop().time()
        if now - self._told > _TOLD_EVERY:
            self._told = now
            _log.warning("server.full", connections=self._limit, setting="server.limits.connections")
        self._waiting.append(resume)
        idle = [(connection.rest, connection) for connection in self._open if connection.rest is not None]
        for _, connection in heapq.nsmallest(max(1, self._limit // _SHARE), idle, key=itemgetter(0)):
            connection.part()

    @property
    def wanted(self) -> bool:
        """Tell whether somebody waits for a place."""
        return bool(self._waiting)

    def forget(self, resume: Callable[[], None]) -> None:
        """Do not call `resume` any more."""
        self._waiting = [one for one in self._waiting if one is not resume]


_take: Final = web.RequestHandler.data_received


class Connection(web.RequestHandler):
    """The connection of one client: aiohttp's protocol, closed where the headers of a request take too long.

    The time for headers runs from the beginning of the connection, later from the first byte of each request, however
    the bytes come. Between requests, a connection may be idle for as long as clients keep theirs.

    `connections` has given it a place. `fields` are those of every answer. `reports` are told of what is no request.
    """

    __slots__ = (
        "_client",
        "_connections",
        "_deadline",
        "_fields",
        "_idle",
        "_now",
        "_patience",
        "_reports",
        "_rested",
        "_timer",
        "stalled",
    )

    def __init__(
        self,
        server: web.Server,
        connections: Connections,
        header_timeout: float,
        fields: Mapping[str, str],
        reports: Reports,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp's own runners switch it off
            auto_decompress=False,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            max_line_size=_LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_FIELDS_LIMIT,
        )
        self._connections = connections
        self._patience = header_timeout
        self._now = loop.time
        self._fields = fields
        self._reports = reports
        self._client: str | None = None
        self._idle = True
        self._rested = 0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.stalled = False
        """Whether the connection ended because the client took no byte of what was sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._client = (transport.get_extra_info("peername") or (None,))[0]
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place up, and say so where the kernel's patience with the client ended (TCP_USER_TIMEOUT)."""
        self._connections.discard(self)
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(exc, TimeoutError):
            self.stall()
        super().connection_lost(exc)

    def stall(self) -> None:
        """Note, and say once, that the kernel gave the client up."""
        if not self.stalled:
            self.stalled = True
            _log.warning("connection.stalled", client=self._client, reason="the client took no byte for send_timeout")

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; the first ones begin the time for its headers."""
        if self._deadline is None and self._idle and data:
            self._expect_headers()
        _take(self, data)

    @property
    def rest(self) -> int | None:
        """Return the number of its present rest between requests, in the order in which they began; None within one."""
        return self._rested if self._idle and self._deadline is None and self.transport is not None else None

    def begin(self) -> None:
        """Note that the headers of a request are complete: from here on its handler watches the time."""
        self._idle = False
        self._deadline = None

    def part(self) -> None:
        """Close the connection, after the answer that the client waits for."""
        if self._idle:
            self.force_close()  # what is written already is still sent
        else:
            self.close()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002 - aiohttp's
        """Take note of the end of an answer: with the last byte of its request's body the connection is idle again."""
        if request.content.is_eof():
            self._begin_rest()
        else:
            request.content.on_eof(self._begin_rest)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Return the answer to what is no request, in the form of every other error, and end the connection with it.

        Neither the answer nor the log quotes what was sent: it may be a password, or meant for somebody's terminal.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("the answer is under way: nothing else can be said")
        trace = Trace(secrets.token_hex(8), time.perf_counter(), self._client, kind=OtherKind.MALFORMED)
        if status == ErrorCode.MALFORMED.status:
            error = ProxyError(ErrorCode.MALFORMED)
        else:
            _log.error("request.failed", client=self._client, exc_info=exc)
            error = ProxyError(ErrorCode.UNKNOWN)
        trace.error, trace.debug = error.code.name, type(exc).__name__
        response = render(error)
        response.headers.update(self._fields)
        response.headers["X-Request-ID"] = trace.request_id
        response.force_close()
        if TRACE not in request:  # otherwise it was told of already
            self._reports.answered_unread(request, trace, response)
        return response

    def _begin_rest(self) -> None:
        # Not by the clock: it does not tell one from another that began in the same millisecond.
        self._idle, self._rested = True, next(_rests)
        if self._connections.wanted:
            self.close()

    def _expect_headers(self) -> None:
        self._deadline = self._now() + self._patience
        # One timer serves the requests of many seconds: it looks when it is due, and goes on to the deadline of then.
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None or self.transport is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._look)
            return
        # No 408: clients that opened a connection ahead of need take an answer that they did not ask for as an error.
        _log.info("connection.headers_late", client=self._client, seconds=self._patience)
        self.transport.abort()


def watch_requests(server: web.Server) -> None:
    """Have `server` tell each `Connection` when the headers of a request are complete."""
    make: Callable[..., web.BaseRequest] = server.request_factory

    def begin(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:  # noqa: ANN401 - aiohttp's own, passed on
        protocol.begin()
        return make(message, payload, protocol, writer, task)

    server.request_factory = begin


def is_stalled(request: web.BaseRequest) -> bool:
    """Tell whether the connection of a request ended because its client took no byte of the answer for too long."""
    return isinstance(request.protocol, Connection) and request.protocol.stalled


def tell_stalled(request: web.BaseRequest) -> None:
    """Note that the kernel's patience with the client of a request has ended: an error is told to one caller only."""
    if isinstance(request.protocol, Connection):
        request.protocol.stall()
