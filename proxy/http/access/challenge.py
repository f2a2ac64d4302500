"""How clients are asked to show who they are: the answer 401, in both characters of the registry."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from proxy.http.forwarded import is_host
from proxy.http.oci.errors import render
from proxy.http.trace import TRACE
from proxy.model.errors import ProxyError
from proxy.model.hosts import authority

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request lacked.

    `base` is the path of the API, up to and including ``/v2``, whose token endpoint gives what is asked for; None where
    no token would do, but a password. `scope` is the one a token must have, `reason` why the one that was sent is not
    enough (RFC 6750 §3.1); each may be "". `mirror` tells that the request came to a listener of a mirror.
    """

    base: str | None = None
    scope: str = ""
    reason: str = ""
    mirror: bool = False


class Challenges:
    """Write the answers 401 of one registry.

    `public_url` is the origin under which clients reach the main listener, None for the one that they asked. With
    `basic`, passwords are asked for as ECR does, else tokens.
    """

    def __init__(self, public_url: str | None, *, basic: bool) -> None:
        self._public_url = public_url.rstrip("/") if public_url is not None else None
        self._basic = basic

    def origin(self, request: web.Request, *, mirror: bool) -> str:
        """Return scheme, host and port under which the client reaches this listener."""
        if self._public_url is not None and not mirror:
            return self._public_url
        return request[TRACE].origin or f"{request.scheme}://{_host(request)}"

    def answer(self, request: web.Request, error: ProxyError, demand: Demand) -> web.Response:
        """Return the answer to a request that `error` (UNAUTHORIZED) refuses."""
        trace = request[TRACE]
        trace.error, trace.debug = error.code.name, error.debug
        origin = self.origin(request, mirror=demand.mirror)
        if self._basic:
            response = web.Response(status=error.code.status, text="Not Authorized\n")
            challenge = f'Basic realm="{origin}/",service="ecr.amazonaws.com"'
        else:
            response = render(error)
            challenge = _bearer(origin, demand) if demand.base is not None else f'Basic realm="{origin}/"'
        response.headers[hdrs.WWW_AUTHENTICATE] = challenge
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        return response


def service_of(origin: str) -> str:
    """Return the name that this registry has for token servers: its host and port."""
    return origin.partition("://")[2]


def same_service(one: str, other: str, scheme: str) -> bool:
    """Tell whether two ``host[:port]`` are one, in whatever case, with the port of the scheme or without."""
    return _normal(one, scheme) == _normal(other, scheme)


def _bearer(origin: str, demand: Demand) -> str:
    fields = {"realm": f"{origin}{demand.base}/token", "service": service_of(origin)}
    fields |= {name: value for name, value in (("scope", demand.scope), ("error", demand.reason)) if value}
    # Nothing in it needs escapes: hosts, paths and names are of grammars without quotes and backslashes.
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in fields.items())


def _host(request: web.Request) -> str:
    """Return ``Host`` where it is one, otherwise the address that was connected to."""
    given = request.headers.getall(hdrs.HOST, [])
    if len(given) == 1 and is_host(given[0]):
        return given[0]
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    if not isinstance(name, tuple):
        return "localhost"
    return authority(name[0], name[1])


def _normal(service: str, scheme: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(f"//{service}")
        return parts.hostname, parts.port or _PORTS.get(scheme)
    except ValueError:
        return None, None
