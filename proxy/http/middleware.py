"""What happens around every request: its id, its Host, its errors, and what is told of it."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict, istr

from proxy.http.forwarded import TrustedProxies
from proxy.http.hosts import OwnHosts
from proxy.http.lifecycle import Lifecycle
from proxy.http.oci.errors import render
from proxy.http.reports import Reports
from proxy.http.trace import TRACE, Trace
from proxy.model.errors import ErrorCode, ProxyError
from proxy.telemetry.logging import REQUEST_ID

_log = structlog.get_logger(__name__)

_ID: Final = re.compile(r"[A-Za-z0-9._:+/=-]{1,64}")
_ID_FIELD: Final = istr("X-Request-ID")

Signer = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def observe(
    reports: Reports, lifecycle: Lifecycle, proxies: TrustedProxies | None = None, hosts: OwnHosts | None = None
) -> Middleware:
    """Return the middleware around everything: it gives each request an id, an answer whatever happens, and a report.

    With `hosts`, requests for others are refused. All of it is one middleware, because each costs as much as the
    parsing of a request.
    """
    proxies = proxies or TrustedProxies(())
    behind, identify = bool(proxies), _identifier()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        client, origin = (proxies.client(request), proxies.origin(request)) if behind else (request.remote, None)
        trace = request[TRACE] = Trace(identify(request), time.perf_counter(), client, origin)
        REQUEST_ID.set(trace.request_id)
        response: web.StreamResponse
        try:
            with lifecycle:
                try:
                    if hosts is not None:
                        hosts.require(request)
                    response = await handler(request)
                except Exception as error:  # noqa: BLE001 - the last place that can answer
                    response = _answer_to(error, trace)
        except asyncio.CancelledError:
            if trace.status is None:
                trace.broken = "cut off" if lifecycle.draining else trace.broken or "client left"
            await reports.left(request, trace)
            raise
        await reports.answered(request, trace, response)
        return response

    return middleware


def sign(fields: CIMultiDict[str], lifecycle: Lifecycle, reports: Reports) -> Signer:
    """Return what adds `fields` and the request's id to every answer, and notes when its first byte leaves.

    Of a request that reached no handler, `reports` are told here. It is for aiohttp's signal ``on_response_prepare``.
    """
    identify = _identifier()

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        try:
            trace = request[TRACE]
        except KeyError:
            # What names no path reaches no handler: CONNECT, and OPTIONS of * (RFC 9112 §3.2.3, §3.2.4).
            trace = request[TRACE] = Trace(identify(request), time.perf_counter(), request.remote)
            reports.answered_unread(request, trace, response)
        trace.first_byte = time.perf_counter()
        headers.update(fields)
        headers[_ID_FIELD] = trace.request_id
        framed_wrongly = request.version < HttpVersion11 and hdrs.TRANSFER_ENCODING in request.headers
        if framed_wrongly or lifecycle.draining:
            # RFC 9112 §6.1: chunks are none of HTTP/1.0, so what follows may be anything.
            # RFC 9112 §9.6: say so, instead of letting the next request on this connection fail.
            headers[hdrs.CONNECTION] = "close"
            response.force_close()

    return add


def _identifier() -> Callable[[web.Request], str]:
    """Return what gives requests their ids: the client's own, or one that no other request has."""
    # Ids are no secrets. Each process seeds its own, so that no two make the same.
    numbers = random.Random()  # noqa: S311 - see above

    def identify(request: web.Request) -> str:
        given = request.headers.get(_ID_FIELD)
        if given is not None and _ID.fullmatch(given) is not None:
            return given
        return f"{numbers.getrandbits(64):016x}"

    return identify


def _answer_to(error: Exception, trace: Trace) -> web.StreamResponse:
    """Return the answer to what a handler raised; what nobody foresaw is told to the log, never to the client."""
    if isinstance(error, web.HTTPException):
        return render(_translate(error))
    if not isinstance(error, ProxyError):
        _log.error("request.failed", kind=trace.kind, request_id=trace.request_id, exc_info=error)
        return render(ProxyError(ErrorCode.UNKNOWN))
    trace.error, trace.debug = error.code.name, error.debug
    return render(error)


def _translate(error: web.HTTPException) -> ProxyError:
    codes = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.UNSUPPORTED}
    allow = error.headers.get(hdrs.ALLOW)
    return ProxyError(
        codes.get(error.status, ErrorCode.UNKNOWN),
        headers={hdrs.ALLOW: allow} if allow is not None else None,
        debug=f"aiohttp: {error.status} {error.reason}",
    )
