"""Put the surfaces of one listener together."""

from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from proxy.http import admin, body
from proxy.http.everything import Everything
from proxy.http.fields import FIELDS, constant_fields
from proxy.http.forwarded import TrustedProxies
from proxy.http.hosts import OwnHosts
from proxy.http.lifecycle import Lifecycle
from proxy.http.middleware import observe, sign
from proxy.http.oci import endpoints
from proxy.http.reports import REPORTS, Reports
from proxy.http.services import LIFECYCLE, MIRROR, SERVICES, Services

# For what aiohttp collects by itself. Bodies are read as streams, which have limits of their own.
_BODY_LIMIT = 1 << 20


def build_application(services: Services, *, mirror: str | None, lifecycle: Lifecycle | None = None) -> web.Application:
    """Return the application of one listener.

    `mirror` is the prefix of the rule to which every name belongs on a mirror listener; such a listener has no
    administration, no catalog and no AWS APIs. Without it this is the main listener. `lifecycle` is shared by all
    listeners of a server.
    """
    lifecycle = lifecycle or Lifecycle()
    reports = Reports(services.metrics, services.request_log, services.audit)
    proxies = TrustedProxies(services.server.trusted_proxies)
    hosts = OwnHosts(services.server) if services.guarded else None
    middleware = observe(reports, lifecycle, proxies, hosts)

    def observed(handler: Handler) -> Handler:
        # As aiohttp would do it, which adds a middleware of its own to each chain. Every path has a handler.
        return partial(middleware, handler=handler)

    app = web.Application(client_max_size=_BODY_LIMIT)
    app[SERVICES] = services
    app[LIFECYCLE] = lifecycle
    app[REPORTS] = reports
    app[body.PATIENCE] = services.server.limits.body_timeout.total_seconds()
    app[FIELDS] = constant_fields(services.server)
    if mirror is None:
        admin.add_routes(app, observed)
        if services.api is not None:
            post, get = observed(services.api.answer), observed(services.api.answer_presigned)
            app.router.add_post("/", post, expect_handler=body.await_leave)
            app.router.add_get("/", get, allow_head=False, expect_handler=body.await_leave)
    else:
        app[MIRROR] = mirror
    # aiohttp matches decoded paths; the distribution API is read from the raw one, by its own parser.
    for path in ("/v2", "/"):
        app.router.register_resource(Everything(path, observed(endpoints.answer), body.await_leave))
    app.on_response_prepare.append(sign(CIMultiDict(app[FIELDS]), lifecycle, reports))
    return app
