"""What reverse proxies say of the requests that they pass on, as far as they are trusted."""

import ipaddress
import re
from collections.abc import Callable, Iterable

from aiohttp import web

from proxy.config.section import is_origin

_SCHEMES = frozenset({"http", "https"})
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Read ``X-Forwarded-For``, ``-Proto`` and ``-Host`` where the connection comes from one of `networks`.

    From anybody else they are as if they were not there, and so is each of them that is not exactly what it should be:
    sent twice, a list of schemes, no host.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        """Trust what comes from `networks`, in the notation of the settings."""
        self._networks: tuple[_Network, ...] = tuple(ipaddress.ip_network(network) for network in networks)

    def __bool__(self) -> bool:
        """Tell whether anybody is trusted."""
        return bool(self._networks)

    def client(self, request: web.Request) -> str | None:
        """Return the address of who made the request: the last one on its way that is no proxy of ours."""
        last = request.remote
        if not self or not self._trusts(_address(last)):
            return last
        named = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        for text in reversed(named):
            address = _address(text.strip())
            if address is None:
                break
            last = str(address)
            if not self._trusts(address):
                break
        return last

    def origin(self, request: web.Request) -> str | None:
        """Return the origin that the client asked, None where no proxy tells of it."""
        if not self or not self._trusts(_address(request.remote)):
            return None
        scheme = _only(request, "X-Forwarded-Proto", _SCHEMES.__contains__)
        host = _only(request, "X-Forwarded-Host", is_host)
        if scheme is None and host is None:
            return None
        host = host or _only(request, "Host", is_host)
        return f"{scheme or request.scheme}://{host}" if host is not None else None

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str | None) -> _Address | None:
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None


def _only(request: web.Request, name: str, fits: Callable[[str], bool]) -> str | None:
    values = request.headers.getall(name, [])
    return values[0] if len(values) == 1 and fits(values[0]) else None


def is_host(text: str) -> bool:
    """Tell whether `text` is ``host[:port]`` and nothing else: fit to be repeated in a header field."""
    return _HOST.fullmatch(text) is not None and is_origin(f"http://{text}", {"http"})
