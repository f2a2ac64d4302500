"""What every request goes through whose caller matters: who it is, and whether it is one too many."""

from aiohttp import web

from proxy.core.access.caller import Caller
from proxy.http.services import SERVICES
from proxy.http.trace import TRACE


async def admit(request: web.Request, *, mirror: bool = False, ticket: bool = False) -> Caller:
    """Return who makes the request, or raise `ProxyError`; `mirror` and `ticket` are those of `Authentication`.

    Without authentication nobody is asked: everyone is anonymous.
    """
    services = request.app[SERVICES]
    if services.authentication is None:
        caller = Caller(address=request[TRACE].client)
    else:
        caller = await services.authentication.identify(request, mirror=mirror, ticket=ticket)
    services.rates.admit(caller)
    return caller
