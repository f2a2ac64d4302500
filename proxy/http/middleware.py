"""What happens around every request: its log event and metrics, its errors, its Host."""

import asyncio
import ipaddress
import re
import secrets
import time
from functools import cache
from urllib.parse import urlsplit

import structlog
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from proxy.config.settings import ServerSettings
from proxy.http.admin import HEALTH
from proxy.http.audit import Auditor
from proxy.http.fields import FIELDS
from proxy.http.forwarded import TrustedProxies
from proxy.http.lifecycle import Lifecycle
from proxy.http.oci.errors import render
from proxy.http.services import LIFECYCLE
from proxy.http.trace import TRACE, Trace
from proxy.model.errors import ErrorCode, ProxyError
from proxy.telemetry.audit import AuditTrail, NoAudit
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,64}")
_USER_AGENT_LIMIT = 200
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Not a status of HTTP: how logs commonly say that nobody was left to answer.
_CLIENT_LEFT = 499


def observe(
    metrics: Metrics, lifecycle: Lifecycle, proxies: TrustedProxies | None = None, audit: AuditTrail | None = None
) -> Middleware:
    """Return the outermost middleware: it gives the request an id, and tells log and metrics what became of it."""
    meters, proxies, auditor = _Meters(metrics), proxies or TrustedProxies(()), Auditor(audit or NoAudit())

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        trace = request[TRACE] = Trace(
            _request_id(request), time.perf_counter(), proxies.client(request), proxies.origin(request)
        )
        structlog.contextvars.bind_contextvars(request_id=trace.request_id)
        try:
            with lifecycle:
                response = await handler(request)
        except asyncio.CancelledError:
            if trace.status is None:
                trace.broken = "cut off" if lifecycle.draining else trace.broken or "client left"
            _answered(meters, request, trace, trace.status or _CLIENT_LEFT, trace.sent or 0)
            await auditor.left(request, trace)
            raise
        sent = trace.sent if trace.sent is not None else _body_size(request, response)
        _answered(meters, request, trace, response.status, sent)
        await auditor.answered(request, trace, response.status)
        return response

    return middleware


class _Meters:
    """The metrics of requests. Looking up a labelled child costs more than counting, so they are looked up once."""

    def __init__(self, metrics: Metrics) -> None:
        self.requests = cache(metrics.requests.labels)
        self.seconds = cache(metrics.request_seconds.labels)
        self.sent = metrics.bytes.labels("client")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into answers; an unknown exception is told to the log, never to the client."""
    try:
        return await handler(request)
    except ProxyError as error:
        request[TRACE].error, request[TRACE].debug = error.code.name, error.debug
        return render(error)
    except web.HTTPException as error:
        return render(_translate(error))
    except Exception:  # noqa: BLE001 - the last place that can answer
        _log.exception("request.failed", kind=request[TRACE].kind, request_id=request[TRACE].request_id)
        return render(ProxyError(ErrorCode.UNKNOWN))


def host_check(server: ServerSettings) -> Middleware:
    """Return the middleware that refuses requests for other hosts than this server.

    A web page whose name is made to resolve to a loopback address (DNS rebinding) has its own name in Host.
    """
    names = {_bare(host) for host in (server.host, *server.hosts)}
    if server.public_url is not None:
        names.add(_bare(urlsplit(server.public_url).netloc))
    known = frozenset(names)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in HEALTH or all(_ours(_bare(authority), known) for authority in _authorities(request)):
            return await handler(request)
        raise ProxyError(
            ErrorCode.MISDIRECTED,
            "this server does not answer for the host of this request; add it to server.hosts if it is meant",
        )

    return middleware


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """Add the fields that every answer carries, and note when the first byte left (a signal of aiohttp)."""
    trace = request[TRACE]
    trace.first_byte = time.perf_counter()
    response.headers.update(request.app[FIELDS])
    response.headers["X-Request-ID"] = trace.request_id
    framed_wrongly = request.version < HttpVersion11 and hdrs.TRANSFER_ENCODING in request.headers
    if framed_wrongly or request.app[LIFECYCLE].draining:
        # RFC 9112 §6.1: chunks are none of HTTP/1.0, so what follows may be anything.
        # RFC 9112 §9.6: say so, instead of letting the next request on this connection fail.
        response.headers[hdrs.CONNECTION] = "close"
        response.force_close()


def _answered(meters: _Meters, request: web.Request, trace: Trace, status: int, sent: int) -> None:
    now = time.perf_counter()
    first = (trace.first_byte or now) - trace.started
    method = request.method if request.method in _METHODS else "OTHER"
    meters.requests(trace.kind, method, str(status), trace.cache).inc()
    meters.seconds(trace.kind).observe(first)
    meters.sent.inc(sent)
    log = _log.debug if request.path in HEALTH else _log.info
    log(
        "request.answered",
        method=method,
        kind=trace.kind,
        principal=trace.principal,
        name=trace.name,
        reference=trace.reference,
        ns=trace.namespace,
        rule=trace.rule,
        cache=trace.cache,
        status=status,
        bytes=sent,
        received=trace.received,
        ms=round((now - trace.started) * 1000, 2),
        ttfb_ms=round(first * 1000, 2),
        error=trace.error,
        debug=trace.debug,
        broken=trace.broken,
        client=trace.client,
        user_agent=request.headers.get(hdrs.USER_AGENT, "")[:_USER_AGENT_LIMIT],
        request_id=trace.request_id,
    )


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _body_size(request: web.Request, response: web.StreamResponse) -> int:
    empty = request.method == hdrs.METH_HEAD or response.status in {204, 304}
    return 0 if empty else response.content_length or 0


def _translate(error: web.HTTPException) -> ProxyError:
    codes = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.UNSUPPORTED}
    allow = error.headers.get(hdrs.ALLOW)
    return ProxyError(
        codes.get(error.status, ErrorCode.UNKNOWN),
        headers={hdrs.ALLOW: allow} if allow is not None else None,
        debug=f"aiohttp: {error.status} {error.reason}",
    )


def _authorities(request: web.Request) -> list[str]:
    # RFC 9112 §3.2.2: the authority of an absolute target replaces Host; both have to be ours.
    before, absolute, rest = request.raw_path.partition("://")
    target = [rest.partition("/")[0]] if absolute and "/" not in before else []
    return [*request.headers.getall(hdrs.HOST, [""]), *target]


def _bare(authority: str) -> str:
    """Return a host without port, brackets, case and final dot."""
    host = authority
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host.lower().removesuffix(".")


def _ours(host: str, known: frozenset[str]) -> bool:
    if host in known or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
