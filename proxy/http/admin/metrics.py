"""Metrics in Prometheus' text format."""

from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.core.access.authorizer import Wanted
from proxy.core.access.caller import Caller
from proxy.http.access.admission import admit
from proxy.http.access.challenge import Demand
from proxy.http.services import SERVICES
from proxy.http.trace import TRACE, OtherKind
from proxy.model.access import Action
from proxy.model.errors import ErrorCode, ProxyError
from proxy.telemetry.exposition import OwnMetrics

_WANTED: Final = Wanted(Action.METRICS, "pullthrough:ReadMetrics")


async def show(request: web.Request) -> web.StreamResponse:
    """Answer with the metrics of all processes of this server, to those who may read them."""
    trace, services = request[TRACE], request.app[SERVICES]
    trace.kind = OtherKind.METRICS
    caller: Caller | None = None
    try:
        caller = await admit(request)
        trace.operation, trace.action, trace.refused = _WANTED.operation, _WANTED.action, True
        await services.authorizer.require(caller, _WANTED)
        trace.refused = False
    except ProxyError as error:
        if error.code is ErrorCode.UNAUTHORIZED and services.authentication is not None:
            return services.authentication.challenge(request, error, Demand(), caller)
        error.headers.setdefault("Cache-Control", "no-store")
        raise
    exposition = services.exposition or OwnMetrics(services.metrics)
    fields = {"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
    return web.Response(body=await exposition.render(), headers=fields)
