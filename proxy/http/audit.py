"""Which requests are told to the audit trail: those that changed something, and those that were refused."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from proxy.http.trace import Trace
from proxy.model.access import Action
from proxy.model.errors import ErrorCode
from proxy.telemetry.audit import AuditEvent, AuditKind, AuditTrail

_WRITES: Final = frozenset({Action.PUSH, Action.DELETE, Action.ADMIN})
_READS: Final = ("Get", "List", "Describe", "BatchGet", "BatchCheck", "Validate")
# They come before a change, which is told when it is done.
_CHUNK: Final = "ecr:UploadLayerPart"
_STEPS: Final = frozenset({"ecr:InitiateLayerUpload", _CHUNK})
_REFUSALS: Final = frozenset({ErrorCode.MISDIRECTED.name, ErrorCode.UNAUTHORIZED.name})
_UNKNOWN: Final = "unknown: the client left"


class Auditor:
    """Tell the trail of requests, as they end."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def answered(self, request: web.Request, trace: Trace, status: int) -> None:
        """Record the request if it changed something or was refused; return once that is written."""
        if trace.refused or trace.error in _REFUSALS:
            # Every client begins without credentials, and is told which to send: that refuses nobody anything.
            if status != HTTPStatus.UNAUTHORIZED or _shows_credentials(request, trace):
                await self._record(AuditKind.REFUSAL, request, trace, status, trace.error or "refused")
        elif status < HTTPStatus.BAD_REQUEST and _changes(trace, status):
            await self._record(AuditKind.CHANGE, request, trace, status, "done")

    async def left(self, request: web.Request, trace: Trace) -> None:
        """Record a request that would have changed something, and whose client did not wait for the answer."""
        if trace.action in _WRITES and not trace.refused and _changes(trace, HTTPStatus.CREATED):
            await self._record(AuditKind.CHANGE, request, trace, None, _UNKNOWN)

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
                reference=trace.reference,
                result=result,
                status=status,
                request_id=trace.request_id,
            )
        )


def may_matter(trace: Trace) -> bool:
    """Tell whether an answered request may be one that the trail is told of; nearly all only read, and are not."""
    return trace.refused or trace.error is not None or trace.action in _WRITES


def _changes(trace: Trace, status: int) -> bool:
    if trace.action not in _WRITES or trace.operation in {None, _CHUNK}:
        return False
    if trace.kind in {"uploads", "upload"}:
        # A blob is there only then: what is accepted for later (202) or given up (204) changed nothing.
        return status == HTTPStatus.CREATED
    name = trace.operation.partition(":")[2]
    return trace.operation not in _STEPS and not name.startswith(_READS)


def _shows_credentials(request: web.Request, trace: Trace) -> bool:
    # Who shows none gets a token from the token endpoint; what it refuses stood in the header or in the form.
    return trace.kind == "token" or "Authorization" in request.headers or "X-Amz-Signature" in request.query
