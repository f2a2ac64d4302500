"""Which requests are told to the audit trail: those that changed something, and those that were refused."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from cachetools import TTLCache

from proxy.http.access.certificates import shows_certificate
from proxy.http.oci.paths import Kind
from proxy.http.trace import Trace, Withheld
from proxy.model.access import Action
from proxy.model.errors import ErrorCode
from proxy.telemetry.audit import AuditEvent, AuditKind, AuditTrail

_WRITES: Final = frozenset({Action.PUSH, Action.DELETE, Action.ADMIN})
_READS: Final = ("Get", "List", "Describe", "BatchGet", "BatchCheck", "Validate")
# They come before a change, which is told when it is done.
_CHUNK: Final = "ecr:UploadLayerPart"
_STEPS: Final = frozenset({"ecr:InitiateLayerUpload", _CHUNK})
_UPLOADS: Final = frozenset({Kind.UPLOADS, Kind.UPLOAD})
_REFUSALS: Final = frozenset({ErrorCode.MISDIRECTED.name, ErrorCode.UNAUTHORIZED.name})
_UNKNOWN: Final = "unknown: the client left"
# Who is not heard any more may go on as fast as the network does; each of its requests in the trail would push out all
# that others did.
_UNHEARD_SECONDS: Final = 60.0
_UNHEARD_KEPT: Final = 1024


class Auditor:
    """Tell the trail of requests, as they end."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._unheard: TTLCache[str | None, bool] = TTLCache(_UNHEARD_KEPT, _UNHEARD_SECONDS)

    async def answered(self, request: web.Request, trace: Trace, status: int) -> None:
        """Record the request if it changed something or was refused; return once that is written."""
        if trace.refused or trace.error in _REFUSALS:
            # Every client begins without credentials, and is told which to send: that refuses nobody anything.
            if status == HTTPStatus.UNAUTHORIZED and not _shows_credentials(request, trace):
                return
            if status != HTTPStatus.TOO_MANY_REQUESTS or self._is_news(trace.client):
                await self._record(AuditKind.REFUSAL, request, trace, status, trace.error or "refused")
            return
        if trace.withheld is not None:
            await self._record_withheld(trace, trace.withheld, status)
        if status < HTTPStatus.BAD_REQUEST and _changes(trace, status):
            await self._record(AuditKind.CHANGE, request, trace, status, "done")
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR and _changes(trace, HTTPStatus.CREATED):
            # It may have failed after it was done.
            await self._record(AuditKind.CHANGE, request, trace, status, trace.error or ErrorCode.UNKNOWN.name)

    async def left(self, request: web.Request, trace: Trace) -> None:
        """Record a request that would have changed something, and whose client did not wait for the answer."""
        if trace.withheld is not None:
            await self._record_withheld(trace, trace.withheld, None)
        if trace.action in _WRITES and not trace.refused and _changes(trace, HTTPStatus.CREATED):
            await self._record(AuditKind.CHANGE, request, trace, None, _UNKNOWN)

    def _is_news(self, client: str | None) -> bool:
        news = client not in self._unheard
        if news:
            self._unheard[client] = True
        return news

    async def _record_withheld(self, trace: Trace, withheld: Withheld, status: int | None) -> None:
        await self._trail.record(
            AuditEvent(
                kind=AuditKind.REFUSAL,
                operation=withheld.operation,
                principal=trace.principal or "",
                scheme=trace.scheme,
                address=trace.client,
                subject=withheld.subject,
                reference=withheld.reference,
                result=ErrorCode.DENIED.name,
                status=status,
                request_id=trace.request_id,
            )
        )

    async def _record(
        self, kind: AuditKind, request: web.Request, trace: Trace, status: int | None, result: str
    ) -> None:
        await self._trail.record(
            AuditEvent(
                kind=kind,
                operation=trace.operation or f"{request.method} {trace.kind}",
                principal=trace.principal or "",
                scheme=trace.scheme,
                address=trace.client,
                subject=trace.repository or trace.name,
                # That of an operation of an API is its own name.
                reference=trace.reference if isinstance(trace.kind, Kind) else trace.content,
                result=result,
                status=status,
                request_id=trace.request_id,
            )
        )


def may_matter(trace: Trace) -> bool:
    """Tell whether an answered request may be one that the trail is told of; nearly all only read, and are not."""
    return trace.refused or trace.error is not None or trace.action in _WRITES or trace.withheld is not None


def _changes(trace: Trace, status: int) -> bool:
    if trace.action not in _WRITES or trace.operation in {None, _CHUNK}:
        return False
    if trace.kind in _UPLOADS:
        # A blob is there only then: what is accepted for later (202) or given up (204) changed nothing.
        return status == HTTPStatus.CREATED
    name = trace.operation.partition(":")[2]
    return trace.operation not in _STEPS and not name.startswith(_READS)


def _shows_credentials(request: web.Request, trace: Trace) -> bool:
    # Who shows none gets a token from the token endpoint; what it refuses stood in the header or in the form.
    return (
        trace.kind is Kind.TOKEN
        or "Authorization" in request.headers
        or "X-Amz-Signature" in request.query
        # Of somebody whose name is none here, or whose time is over.
        or shows_certificate(request.transport)
    )
