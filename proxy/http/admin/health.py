"""Health: whether the server lives, and whether it should get requests."""

from aiohttp import web

from proxy.http.services import LIFECYCLE, SERVICES
from proxy.http.trace import TRACE, OtherKind
from proxy.model.errors import ErrorCode, ProxyError


async def live(request: web.Request) -> web.Response:
    """Answer 200 as long as the loop turns."""
    request[TRACE].kind = OtherKind.LIVE
    return web.Response(body=b'{"status":"alive"}', headers={"Content-Type": "application/json"})


async def ready(request: web.Request) -> web.Response:
    """Answer 200 while requests can be served, 503 before that and from the moment the server is told to stop."""
    request[TRACE].kind = OtherKind.READY
    if request.app[LIFECYCLE].draining:
        raise ProxyError(ErrorCode.UNAVAILABLE, "the server is shutting down")
    if not request.app[SERVICES].ready():
        raise ProxyError(ErrorCode.UNAVAILABLE, "the server is not ready yet")
    return web.Response(body=b'{"status":"ready"}', headers={"Content-Type": "application/json"})
