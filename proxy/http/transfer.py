"""Send a blob to one client, at the client's own speed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import structlog
from aiohttp import web

from proxy.core.sources import TransferError
from proxy.http.connections import is_stalled
from proxy.http.trace import TRACE, Trace

_log = structlog.get_logger(__name__)


async def send(request: web.Request, response: web.StreamResponse, body: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send `body` as the body of `response`, which says its Content-Length, and return the response.

    Once the headers are out nothing else can tell a client of a failure: whatever goes wrong closes the connection
    short of the Content-Length, without a clean end. A client that leaves is no error, nor is one that takes nothing.
    """
    trace = request[TRACE]
    trace.sent = 0
    try:
        await response.prepare(request)
        async for chunk in body:
            await response.write(chunk)
            trace.sent += len(chunk)
            # A client that takes everything at once never makes `write` wait: without this, one
            # connection would hold the loop until its blob is through.
            await asyncio.sleep(0)
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
    except TransferError as error:
        _abort(request, trace, str(error))
    except Exception as error:  # noqa: BLE001 - the headers are out: no middleware can render an error any more
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            _left(request, trace)
        else:
            _log.exception("transfer.failed", name=trace.name, reference=trace.reference)
            _abort(request, trace, f"internal error: {type(error).__name__}")
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()
    return response


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
    if request.transport is not None:
        request.transport.abort()
