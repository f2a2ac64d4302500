"""Metrics in Prometheus' text format."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.http.services import SERVICES
from proxy.http.trace import TRACE


async def show(request: web.Request) -> web.Response:
    """Answer with all metrics of this process."""
    request[TRACE].kind = "metrics"
    return web.Response(body=request.app[SERVICES].metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
