"""Send a blob to one client, at the client's own speed."""

import asyncio
from collections.abc import AsyncGenerator

import structlog
from aiohttp import web

from proxy.core.ports import BlobFile
from proxy.core.sources import BlobSource, TransferError
from proxy.http.connections import is_stalled, tell_stalled
from proxy.http.sendfile import LEAST, SEGMENT, CannotSendError, ClientLostError, send_file, sends_files
from proxy.http.trace import TRACE, Trace

_log = structlog.get_logger(__name__)


async def send(
    request: web.Request, response: web.StreamResponse, source: BlobSource, start: int, stop: int
) -> web.StreamResponse:
    """Send the bytes [start, stop) of `source` as the body of `response`, and return the response.

    It says its Content-Length. Once the headers are out nothing else can tell a client of a failure: whatever goes
    wrong closes the connection short of the Content-Length, without a clean end. A client that leaves is no error, and
    neither is one that takes nothing.
    """
    trace = request[TRACE]
    transfer = _Transfer(trace, response, source, start, stop)
    try:
        await transfer.run(request)
        if trace.sent == response.content_length:
            await response.write_eof()
        else:
            _abort(request, trace, f"the source gave {trace.sent} bytes of {response.content_length}")
    except asyncio.CancelledError:
        if trace.sent == response.content_length:
            trace.status = response.status  # the client had everything, and left before we had tidied up
        else:
            _left(request, trace)
        raise
    except ClientLostError as error:
        if isinstance(error.__cause__, TimeoutError):
            tell_stalled(request)
        _left(request, trace)
        _cut(request)
    except TransferError as error:
        _abort(request, trace, str(error))
    except Exception as error:  # noqa: BLE001 - the headers are out: no middleware can render an error any more
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            _left(request, trace)
        else:
            _log.exception("transfer.failed", name=trace.name, reference=trace.reference)
            _abort(request, trace, f"internal error: {type(error).__name__}")
    return response


class _Transfer:
    """The bytes [`position`, `stop`) of a source on their way to a client, counted in `trace.sent`."""

    def __init__(
        self, trace: Trace, response: web.StreamResponse, source: BlobSource, position: int, stop: int
    ) -> None:
        trace.sent = 0
        self._trace = trace
        self._response = response
        self._source = source
        self._position = position
        self._stop = stop

    async def run(self, request: web.Request) -> None:
        """Send the headers and everything."""
        transport = request.transport
        if transport is not None and self._stop - self._position >= LEAST and sends_files(transport):
            file = self._source.at_rest()
            if file is not None and not isinstance(file, bytes):
                await self._send_file(request, transport, file)
        await self._response.prepare(request)  # which may have been done
        await self._copy(self._stop)

    async def _send_file(self, request: web.Request, transport: asyncio.WriteTransport, file: BlobFile) -> None:
        """Send as much as the kernel can send from `file`."""
        # What the kernel sends overtakes what waits in the buffer of the transport. Without room for anything to wait,
        # the headers are written at once, and a `write` returns when nothing is left.
        transport.set_write_buffer_limits(0)
        try:
            await self._response.prepare(request)
            while transport.get_write_buffer_size() and self._position < self._stop:
                # The client has not taken the answers before this one.
                await self._copy(min(self._position + SEGMENT, self._stop))
            await send_file(transport, file, self._position, self._stop, self._count)
        except CannotSendError as error:
            _log.debug("transfer.copied", reference=self._trace.reference, reason=str(error.__cause__))
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    async def _copy(self, stop: int) -> None:
        """Send up to `stop` what the source gives."""
        body = self._source.stream(self._position, stop)
        try:
            async for chunk in body:
                await self._response.write(chunk)
                self._count(len(chunk))
                # A client that takes everything at once never makes `write` wait: without this, one
                # connection would hold the loop until its blob is through.
                await asyncio.sleep(0)
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()

    def _count(self, size: int) -> None:
        self._position += size
        self._trace.sent = (self._trace.sent or 0) + size


def _left(request: web.Request, trace: Trace) -> None:
    trace.broken = "slow client" if is_stalled(request) else "client left"
    _log.debug("transfer.client_left", name=trace.name, reference=trace.reference, sent=trace.sent)


def _abort(request: web.Request, trace: Trace, reason: str) -> None:
    trace.broken = "aborted"
    _log.warning(
        "transfer.aborted",
        name=trace.name,
        reference=trace.reference,
        rule=trace.rule,
        sent=trace.sent,
        reason=reason,
        request_id=trace.request_id,
    )
    _cut(request)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
