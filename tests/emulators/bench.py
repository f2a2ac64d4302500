"""The wire of an emulator: requests become values, replies become bytes, exactly and as badly as they ask for."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from proxy.core.ports import Clock
from tests.emulators.journal import Ending, Exchange, Journal
from tests.emulators.messages import Delivery, Reply, Request, Route

Answer = Callable[[Request], Reply]
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Bench:
    """Turn what aiohttp receives into a `Request`, and the `Reply` into bytes; write the journal."""

    def __init__(
        self, answer: Answer, route: Callable[[Request], Route], clock: Clock, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self.journal = Journal()
        self._answer = answer
        self._route = route
        self._clock = clock
        self._pause = pause

    async def serve(self, received: web.BaseRequest) -> web.StreamResponse:
        host = received.headers.get("Host", "").partition(":")[0].lower()
        headers = CIMultiDict(received.headers)
        request = Request(
            host, received.method, received.raw_path, headers, await received.read(), received.remote or ""
        )
        exchange = Exchange(self._clock.now(), request, self._route(request))
        self.journal.exchanges.append(exchange)
        await self.journal.changed()
        reply = self._answer(request)
        exchange.status = reply.status
        return _Transmission(partial(self._send, received, reply, exchange), reply)

    async def _send(self, received: web.BaseRequest, reply: Reply, exchange: Exchange) -> None:
        delivery = reply.delivery
        try:
            await self._write(received, reply, exchange)
        except (asyncio.CancelledError, ConnectionError):
            exchange.ending = Ending.ABORTED
            raise
        else:
            exchange.ending = Ending.CUT if delivery.cut is not None else Ending.COMPLETE
            if delivery.cut is not None:
                _hang_up(received, reset=delivery.reset)
        finally:
            await self.journal.changed()

    async def _write(self, received: web.BaseRequest, reply: Reply, exchange: Exchange) -> None:
        delivery, writer = reply.delivery, received.writer
        for place, step in delivery.steps:
            if place < 0:
                await step()
        if delivery.cut is not None and delivery.cut < 0:
            return
        await writer.write(_head(reply))
        if received.method == "HEAD" or reply.status in _BODILESS:
            return
        async with contextlib.aclosing(self._pieces(reply)) as pieces:
            async for piece in pieces:
                exchange.sent += len(piece)
                await _put(writer, piece, delivery)
                await self.journal.changed()
        if delivery.chunked and delivery.cut is None:
            await writer.write(b"0\r\n\r\n")

    async def _pieces(self, reply: Reply) -> AsyncGenerator[bytes, None]:
        """Yield the body up to the cut; stop for each step at its place."""
        delivery, body = reply.delivery, reply.body
        end = body.size if delivery.cut is None else min(body.size, delivery.cut)
        steps = sorted((place, number) for number, (place, _) in enumerate(delivery.steps) if place >= 0)
        position = 0
        while True:
            while steps and steps[0][0] <= position:
                await delivery.steps[steps.pop(0)[1]][1]()
            if position >= end:
                return
            stop = min(end, position + delivery.piece, *(place for place, _ in steps[:1]))
            if position and delivery.pause:
                await self._pause(delivery.pause)
            yield body.read(position, stop)
            position = stop


class _Transmission(web.StreamResponse):
    """A response that is written by us: aiohttp would mend what a fault has broken."""

    def __init__(self, send: Callable[[], Awaitable[None]], reply: Reply) -> None:
        super().__init__(status=reply.status)
        self._sending = send
        self._reply = reply

    @property
    def keep_alive(self) -> bool:
        delivery = self._reply.delivery
        measured = not delivery.unmeasured and delivery.announced in {None, self._reply.body.size}
        return measured and delivery.version == "1.1" and delivery.cut is None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        await self._sending()
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: `prepare` did."""


def _head(reply: Reply) -> bytes:
    delivery = reply.delivery
    reason = HTTPStatus(reply.status).phrase
    lines = [f"HTTP/{delivery.version} {reply.status} {reason}", *(f"{name}: {value}" for name, value in reply.headers)]
    if delivery.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif reply.status not in _BODILESS and not delivery.unmeasured and reply.header("Content-Length") is None:
        size = reply.body.size if delivery.announced is None else delivery.announced
        lines.append(f"Content-Length: {size}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _put(writer: AbstractStreamWriter, piece: bytes, delivery: Delivery) -> None:
    if delivery.chunked:
        piece = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    await writer.write(piece)
    await writer.drain()


def _hang_up(received: web.BaseRequest, *, reset: bool) -> None:
    transport = received.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    # Closing with a linger time of zero sends RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
