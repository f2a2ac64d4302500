"""One request to the distribution API, as its handlers see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from proxy.core.rules import Address, Resolution
from proxy.http.oci import headers
from proxy.http.oci.paths import Target
from proxy.http.services import Services
from proxy.http.trace import TRACE
from proxy.model.cache_status import CacheStatus
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.pages import Page, parse_page
from proxy.model.principal import ANONYMOUS, Principal

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_HOST_LIMIT = 260


@dataclass(frozen=True, slots=True)
class Call:
    """Bind a request to what its path names and to the services that answer it.

    `mirror` is the rule prefix of the listener the request came to, None on the main listener.
    """

    request: web.Request
    target: Target
    services: Services
    mirror: str | None

    def resolve(self) -> Resolution:
        """Return where the repository of this request lives, or raise `ProxyError`."""
        namespace = self.namespace
        mirror = self.mirror or self.target.prefix or None
        resolution = self.services.rules.current.resolve(Address(self.target.name, namespace, mirror))
        trace = self.request[TRACE]
        trace.namespace = namespace
        trace.rule = resolution.remote.rule.prefix if resolution.remote is not None else None
        return resolution

    def resolve_to_write(self) -> Resolution:
        """Return where the repository lives that this request writes to.

        Raises `ProxyError`: UNSUPPORTED where writes do not go there or not this way, otherwise as `resolve`.
        """
        if self.mirror is not None or self.target.prefix or "ns" in self.request.query:
            raise ProxyError(
                ErrorCode.UNSUPPORTED,
                "a mirror is read only: pushes and deletes go to /v2/<name>/ on the main address, without ns",
            )
        resolution = self.resolve()
        self.services.repositories.require_writable(resolution)
        return resolution

    @property
    def principal(self) -> Principal:
        """Return who makes this request."""
        return ANONYMOUS

    @property
    def namespace(self) -> str | None:
        """Return the host that ``ns`` names, in lower case (OCI distribution-spec, "Registry Proxying")."""
        text = self.parameter("ns", ErrorCode.NAME_INVALID)
        if text is None:
            return None
        host = text.lower()
        if len(host) > _HOST_LIMIT or _HOST.fullmatch(host) is None:
            raise ProxyError(ErrorCode.NAME_INVALID, "ns is the host of a registry, such as docker.io")
        return host

    @property
    def page(self) -> Page:
        """Return the page of a list that the query asks for."""
        invalid = ErrorCode.PAGINATION_NUMBER_INVALID
        return parse_page(self.parameter("n", invalid), self.parameter("last", invalid))

    def parameter(self, name: str, invalid: ErrorCode) -> str | None:
        """Return a query parameter that may be given once; raise `ProxyError` of that code where it is repeated."""
        values = self.request.query.getall(name, [])
        if len(values) > 1:
            raise ProxyError(invalid, f"the query parameter {name} may be given once")
        return values[0] if values else None

    def fields(self, resolution: Resolution, status: CacheStatus | None) -> dict[str, str]:
        """Return the header fields that every answer about a repository carries, and note how it came about."""
        if status is not None:
            self.request[TRACE].cache = status.outcome
        return headers.common(resolution, status)

    def next_link(self, suffix: str, page: Mapping[str, str]) -> str:
        """Return a ``Link`` to the next page: relative, in the layout and namespace of this request (RFC 8288)."""
        query = dict(page)
        if self.namespace is not None:
            query["ns"] = self.namespace
        url = self.request.rel_url.build(path=f"{self.target.base}/{suffix}", query=query)
        return f'<{url}>; rel="next"'
