"""What every request goes through whose caller matters: who it is, and whether it is one too many."""

from functools import lru_cache

from aiohttp import web

from proxy.core.access.caller import Caller
from proxy.http.access.ports import Authentication
from proxy.http.services import SERVICES, Services
from proxy.http.trace import TRACE, Trace
from proxy.model.errors import ErrorCode, ProxyError


async def admit(request: web.Request, *, mirror: bool = False, ticket: bool = False) -> Caller:
    """Return who makes the request, or raise `ProxyError`; `mirror` and `ticket` are those of `Authentication`.

    Without authentication nobody is asked: everyone is anonymous.
    """
    services, trace = request.app[SERVICES], request[TRACE]
    if services.authentication is None:
        return admit_anyone(services, trace)
    try:
        caller = await services.authentication.identify(request, mirror=mirror, ticket=ticket)
    except ProxyError as error:
        _count(error, services, trace)
        raise
    services.rates.admit(caller)
    return caller


def admit_anyone(services: Services, trace: Trace) -> Caller:
    """Return what `admit` does where there is no authentication."""
    caller = _anonymous(trace.client)
    services.rates.admit(caller)
    return caller


async def admit_user(
    request: web.Request, authentication: Authentication, user: str, password: str, *, mirror: bool
) -> Caller:
    """Return whose credentials those are, which came in the body of the request; otherwise as `admit`."""
    services = request.app[SERVICES]
    try:
        caller = await authentication.check(request, user, password, mirror=mirror)
    except ProxyError as error:
        _count(error, services, request[TRACE])
        raise
    services.rates.admit(caller)
    return caller


# Many requests come from few addresses.
@lru_cache(maxsize=1024)
def _anonymous(address: str | None) -> Caller:
    return Caller(address=address)


def _count(error: ProxyError, services: Services, trace: Trace) -> None:
    """Count a request whose credentials are refused as one of its address, and let the audit trail know of it."""
    if error.code is not ErrorCode.TOOMANYREQUESTS:
        services.rates.admit(Caller(address=trace.client))
    trace.refused = True
