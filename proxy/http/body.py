"""Bodies of requests, read as they come in: content is never decoded, and never collected where it may be large."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, hdrs, web

from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError

PATIENCE = web.AppKey("patience", float)
"""Seconds without a byte after which a client that sends a body counts as gone."""


def length_of(request: web.Request) -> int | None:
    """Return how many bytes the body is announced to have, or None where it ends when it ends (chunked)."""
    if request.content_length is not None:
        return request.content_length
    return None if request.body_exists else 0


def require_identity(request: web.Request) -> None:
    """Raise `ProxyError` CONTENT_ENCODING_INVALID where the body is not sent as it is."""
    fields = request.headers.getall
    encodings = ",".join(fields(hdrs.CONTENT_ENCODING, ())).lower().split(",")
    # RFC 9112 §6.1: the parser refuses what does not end in chunked, and what is chunked twice; a coding before that
    # would be content to everybody behind the parser.
    transfer = ",".join(fields(hdrs.TRANSFER_ENCODING, ())).lower().strip()
    if not {encoding.strip() for encoding in encodings} <= {"", "identity"} or transfer not in {"", "chunked"}:
        # RFC 9110 §15.5.16: the answer says which encodings would do.
        raise ProxyError(ErrorCode.CONTENT_ENCODING_INVALID, headers={hdrs.ACCEPT_ENCODING: "identity"})


async def stream(request: web.Request, stalled: ErrorCode) -> AsyncIterator[bytes]:
    """Yield the body as it comes in; raise `ProxyError` with the code `stalled` where nothing comes any more.

    Nothing comes for `PATIENCE` where a network died without telling, and where the body is malformed: aiohttp's parser
    tells nobody of that once the body has begun. A client that leaves cancels the handler. All checks of the headers
    must be done before: whoever waits for leave to send the body is given it here.
    """
    trace = request[TRACE]
    patience = request.app[PATIENCE]
    await _permit(request)
    while True:
        try:
            async with asyncio.timeout(patience):
                data = await request.content.readany()
        except TimeoutError:
            raise ProxyError(stalled, f"no byte came for {patience:g} s: the request was given up") from None
        if not data:
            return
        trace.received += len(data)
        yield data


async def read(request: web.Request, limit: int, stalled: ErrorCode, too_large: Exception) -> bytes:
    """Return the whole body; raise `too_large` where it is longer than `limit`, otherwise as `stream`.

    Where Content-Length tells so, nothing is read before the refusal.
    """
    if (length_of(request) or 0) > limit:
        raise too_large
    received = bytearray()
    async for data in stream(request, stalled):
        received += data
        if len(received) > limit:
            raise too_large
    return bytes(received)


async def await_leave(_: web.Request) -> None:
    """Leave ``Expect: 100-continue`` unanswered until a handler wants the body (aiohttp's handler of Expect).

    RFC 9110 §10.1.1: what the headers alone refuse is refused without the body.
    """


async def _permit(request: web.Request) -> None:
    expected = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
    if expected and request.version >= HttpVersion11 and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp refuses to render an error once bytes are out; these are none of the answer.
        request.writer.output_size = 0
