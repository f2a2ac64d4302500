"""What became of requests, told to the log, to metrics and to the audit trail."""

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from aiohttp import hdrs, web

from proxy.http.admin import HEALTH
from proxy.http.audit import Auditor, may_matter
from proxy.http.trace import Trace
from proxy.telemetry.audit import AuditTrail, NoAudit
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.request_log import EVENT, Answered, EventRequestLog, RequestLog

_USER_AGENT_LIMIT: Final = 200
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Not a status of HTTP: how logs commonly say that nobody was left to answer.
_CLIENT_LEFT: Final = 499


class Reports:
    """Tell of each request once, as it ends."""

    def __init__(self, metrics: Metrics, log: RequestLog | None = None, audit: AuditTrail | None = None) -> None:
        self._log = log or EventRequestLog()
        self._auditor = Auditor(audit or NoAudit())
        self._metrics = metrics
        self._seconds = metrics.request_seconds
        # What the metrics are behind. They take a lock for each step, and are read every few seconds.
        self._requests: Counter[tuple[str, str, int, str]] = Counter()
        self._sent = 0
        metrics.before_read(self._catch_up)

    async def answered(self, request: web.Request, trace: Trace, response: web.StreamResponse) -> None:
        """Tell of a request that gets this answer; return once the audit trail has it."""
        sent = trace.sent if trace.sent is not None else _body_size(request, response)
        self._tell(request, trace, response.status, sent)
        if may_matter(trace):
            await self._auditor.answered(request, trace, response.status)

    async def left(self, request: web.Request, trace: Trace) -> None:
        """Tell of a request whose client left before its handler was done; return once the audit trail has it."""
        self._tell(request, trace, trace.status or _CLIENT_LEFT, trace.sent or 0)
        await self._auditor.left(request, trace)

    def answered_unread(self, request: web.BaseRequest, trace: Trace, response: web.StreamResponse) -> None:
        """Tell of a request that reached no handler, as nobody could tell what it is for."""
        self._tell(request, trace, response.status, _body_size(request, response))

    def _tell(self, request: web.BaseRequest, trace: Trace, status: int, sent: int) -> None:
        now = time.perf_counter()
        first = (trace.first_byte or now) - trace.started
        method = request.method if request.method in _METHODS else "OTHER"
        self._requests[trace.kind, method, status, trace.cache] += 1
        self._seconds.observe(trace.kind, first)
        self._sent += sent
        self._log.answered(
            Answered(
                timestamp=datetime.now(UTC),
                # What names a repository is no probe; the path would have to be decoded to know it.
                level="debug" if trace.name is None and request.path in HEALTH else "info",
                event=EVENT,
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
            ),
        )

    def _catch_up(self) -> None:
        requests, self._requests = self._requests, Counter()
        sent, self._sent = self._sent, 0
        for (kind, method, status, cached), count in requests.items():
            self._metrics.requests.labels(kind, method, str(status), cached).inc(count)
        self._metrics.bytes.labels("client").inc(sent)


REPORTS: Final = web.AppKey("reports", Reports)
"""What is told of the requests to an application."""


def _body_size(request: web.BaseRequest, response: web.StreamResponse) -> int:
    if request.method == hdrs.METH_HEAD or response.status in {204, 304}:
        return 0
    body = response.body if isinstance(response, web.Response) else None
    return len(body) if isinstance(body, bytes) else response.content_length or 0
