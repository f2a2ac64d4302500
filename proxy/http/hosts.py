"""Which requests are meant for this server, by the host that they name.

A web page whose name is made to resolve to a loopback address (DNS rebinding) has its own name in Host.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from proxy.config.settings import ServerSettings
from proxy.http.admin import HEALTH
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.hosts import is_loopback

_LONGEST: Final = 300
"""No authority that could be ours is longer: names have 253 characters at most, ports five digits."""

_NONE: Final = ("",)


class OwnHosts:
    """The hosts that a server answers for: those of its settings, and everything that means this machine."""

    def __init__(self, server: ServerSettings) -> None:
        names = {_bare(host) for host in (server.host, *server.hosts)}
        if server.public_url is not None:
            names.add(_bare(urlsplit(server.public_url).netloc))
        self._names = frozenset(names)
        # Clients spell a server in few ways, and send one of them with every request.
        self._known = lru_cache(maxsize=1024)(self._is_own)

    def require(self, request: web.Request) -> None:
        """Raise `ProxyError` MISDIRECTED where the request names another host, and is no health check."""
        hosts = request.headers.getall(hdrs.HOST, _NONE)
        for authority in hosts if request.raw_path.startswith("/") else _authorities(request, hosts):
            if (len(authority) > _LONGEST or not self._known(authority)) and request.path not in HEALTH:
                raise ProxyError(
                    ErrorCode.MISDIRECTED,
                    "this server does not answer for the host of this request; add it to server.hosts if it is meant",
                )

    def _is_own(self, authority: str) -> bool:
        host = _bare(authority)
        return host in self._names or host.endswith(".localhost") or is_loopback(host)


def _authorities(request: web.Request, hosts: Sequence[str]) -> Sequence[str]:
    # RFC 9112 §3.2.2: the authority of an absolute target replaces Host; both have to be ours.
    before, absolute, rest = request.raw_path.partition("://")
    return [*hosts, rest.partition("/")[0]] if absolute and "/" not in before else hosts


def _bare(authority: str) -> str:
    """Return a host without port, brackets, case and final dot."""
    host = authority
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host.lower().removesuffix(".")
