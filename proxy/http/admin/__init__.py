"""Endpoints for those who run the server: health and metrics. They exist on the main listener only."""

from collections.abc import Callable
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.http.admin import health, metrics
from proxy.model.errors import ErrorCode, ProxyError

HEALTH = frozenset({"/livez", "/readyz"})
"""Paths that probes ask; they answer for any Host."""

ROUTES = {"/livez": health.live, "/readyz": health.ready, "/metrics": metrics.show}


def add_routes(app: web.Application, observed: Callable[[Handler], Handler]) -> None:
    """Add the endpoints, each as `observed` returns it, to the application of the main listener."""
    for path, handler in ROUTES.items():
        app.router.add_get(path, observed(handler))
        app.router.add_route("*", path, observed(_refuse))


async def _refuse(request: web.Request) -> NoReturn:  # noqa: ARG001 - the shape of every handler
    raise ProxyError(ErrorCode.UNSUPPORTED, headers={"Allow": "GET, HEAD"})
