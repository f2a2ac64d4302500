"""What every request goes through whose caller matters: who it is, and whether it is one too many."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from proxy.core.access.caller import Caller
from proxy.http.access.ports import Authentication
from proxy.http.services import SERVICES
from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError


async def admit(request: web.Request, *, mirror: bool = False, ticket: bool = False) -> Caller:
    """Return who makes the request, or raise `ProxyError`; `mirror` and `ticket` are those of `Authentication`.

    Without authentication nobody is asked: everyone is anonymous.
    """
    services = request.app[SERVICES]
    if services.authentication is None:
        caller = Caller(address=request[TRACE].client)
    else:
        with _counting(request):
            caller = await services.authentication.identify(request, mirror=mirror, ticket=ticket)
    services.rates.admit(caller)
    return caller


async def admit_user(
    request: web.Request, authentication: Authentication, user: str, password: str, *, mirror: bool
) -> Caller:
    """Return whose credentials those are, which came in the body of the request; otherwise as `admit`."""
    with _counting(request):
        caller = await authentication.check(request, user, password, mirror=mirror)
    request.app[SERVICES].rates.admit(caller)
    return caller


@contextmanager
def _counting(request: web.Request) -> Iterator[None]:
    """Count a request whose credentials are refused as one of its address, and let the audit trail know of it."""
    try:
        yield
    except ProxyError as error:
        if error.code is not ErrorCode.TOOMANYREQUESTS:
            request.app[SERVICES].rates.admit(Caller(address=request[TRACE].client))
            request[TRACE].refused = True
        raise
