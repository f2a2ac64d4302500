"""Put the surfaces of one listener together."""

from aiohttp import web

from proxy.http import admin, body
from proxy.http.fields import FIELDS, constant_fields
from proxy.http.forwarded import TrustedProxies
from proxy.http.lifecycle import Lifecycle
from proxy.http.middleware import errors, host_check, observe, sign
from proxy.http.oci import endpoints
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
    middlewares = [
        observe(services.metrics, lifecycle, TrustedProxies(services.server.trusted_proxies), services.audit),
        errors,
    ]
    if services.guarded:
        middlewares.append(host_check(services.server))
    app = web.Application(middlewares=middlewares, client_max_size=_BODY_LIMIT)
    app[SERVICES] = services
    app[LIFECYCLE] = lifecycle
    app[body.PATIENCE] = services.server.limits.body_timeout.total_seconds()
    app[FIELDS] = constant_fields(services.server)
    if mirror is None:
        admin.add_routes(app)
        if services.api is not None:
            app.router.add_post("/", services.api.answer, expect_handler=body.await_leave)
            app.router.add_get("/", services.api.answer_presigned, allow_head=False, expect_handler=body.await_leave)
    else:
        app[MIRROR] = mirror
    # aiohttp matches decoded paths; the distribution API is read from the raw one, by its own parser.
    app.router.add_route("*", "/{path:.*}", endpoints.answer, expect_handler=body.await_leave)
    app.on_response_prepare.append(sign)
    return app
