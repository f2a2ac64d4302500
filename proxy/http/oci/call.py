"""One request to the distribution API, as its handlers see it."""

import re
from collections.abc import Mapping
from dataclasses import replace

import msgspec
from aiohttp import web

from proxy.core.access.authorizer import EveryoneMay, Wanted
from proxy.core.access.caller import Caller
from proxy.core.rules import Address, Resolution
from proxy.http.oci import headers
from proxy.http.oci.needs import FIRST_PULL, Need
from proxy.http.oci.paths import Target
from proxy.http.services import Services
from proxy.http.trace import Trace
from proxy.model.cache_status import CacheStatus
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.pages import Page, parse_page
from proxy.model.principal import Principal

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_HOST_LIMIT = 260


class Call(msgspec.Struct, frozen=True):
    """Bind a request, and its trace, to what its path names and to the services that answer it.

    `mirror` is the rule prefix of the listener the request came to, None on the main listener. `needs` is what the
    caller must be permitted to do with the repository; None where the endpoint names none.
    """

    request: web.Request
    trace: Trace
    target: Target
    services: Services
    mirror: str | None
    caller: Caller
    needs: Need | None = None

    async def resolve(self) -> Resolution:
        """Return where the repository of this request lives, as far as the caller may have it, or raise `ProxyError`.

        What `Authorizer.require` raises comes before anything that would tell of the repository or of its rule.
        """
        namespace = self.namespace if self.request.query_string else None
        address = Address(self.target.name, namespace, self.mirror or self.target.prefix or None)
        trace, rules, authorizer = self.trace, self.services.rules, self.services.authorizer
        everyone_may = type(authorizer) is EveryoneMay  # and none that narrows it: then there is nothing to ask
        try:
            # As `latest` does, which would be a coroutine for nothing with nearly every request.
            resolution = (await rules.latest() if rules.behind() else rules.current).locate(address)
        except ProxyError:
            await self._require_everywhere()
            raise
        trace.namespace, trace.repository = namespace, resolution.repository
        trace.rule = resolution.remote.rule.prefix if resolution.remote is not None else None
        if self.needs is not None:
            trace.operation, trace.action = self.needs.operation, self.needs.action
            if not everyone_may:
                trace.refused = True
                await authorizer.require(self.caller, self._wanted(resolution, self.needs))
                trace.refused = False
        resolution.require_served()
        if resolution.remote is None or everyone_may or await self.permits(resolution, FIRST_PULL):
            return resolution
        return replace(resolution, remote=replace(resolution.remote, may_fetch=False))

    async def _require_everywhere(self) -> None:
        """Raise `ProxyError` unless the caller may do this with all repositories, and so may know which rules exist.

        The scopes of a token do not count: none could name a repository that there cannot be.
        """
        if self.needs is not None:
            trace, caller = self.trace, replace(self.caller, scopes=None)
            trace.operation, trace.action, trace.refused = self.needs.operation, self.needs.action, True
            await self.services.authorizer.require(caller, Wanted(self.needs.action, self.needs.operation))
            trace.refused = False

    async def permits(self, resolution: Resolution, need: Need) -> bool:
        """Tell whether the caller may do that with a repository."""
        return await self.services.authorizer.permits(self.caller, self._wanted(resolution, need))

    async def resolve_to_write(self) -> Resolution:
        """Return where the repository lives that this request writes to.

        Raises `ProxyError`: UNSUPPORTED where writes do not go there or not this way, otherwise as `resolve`.
        """
        if self.mirror is not None or self.target.prefix or "ns" in self.request.query:
            raise ProxyError(
                ErrorCode.UNSUPPORTED,
                "a mirror is read only: pushes and deletes go to /v2/<name>/ on the main address, without ns",
            )
        resolution = await self.resolve()
        self.services.repositories.require_writable(resolution)
        return resolution

    @property
    def at_mirror(self) -> bool:
        """Tell whether the request is one to a mirror: to a listener of its own, or below ``/<prefix>/v2/``."""
        return self.mirror is not None or bool(self.target.prefix)

    @property
    def principal(self) -> Principal:
        """Return who makes this request."""
        return self.caller.principal

    @staticmethod
    def _wanted(resolution: Resolution, need: Need) -> Wanted:
        rule = resolution.remote.rule if resolution.remote is not None else None
        return Wanted(need.action, need.operation, resolution.repository, rule)

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
        if not self.request.query_string:
            return None
        values = self.request.query.getall(name, [])
        if len(values) > 1:
            raise ProxyError(invalid, f"the query parameter {name} may be given once")
        return values[0] if values else None

    def fields(self, resolution: Resolution, status: CacheStatus | None) -> dict[str, str]:
        """Return the header fields that every answer about a repository carries, and note how it came about."""
        if status is not None:
            self.trace.cache = status.outcome
        return headers.common(resolution, status)

    def next_link(self, suffix: str, page: Mapping[str, str]) -> str:
        """Return a ``Link`` to the next page: relative, in the layout and namespace of this request (RFC 8288)."""
        query = dict(page)
        if self.namespace is not None:
            query["ns"] = self.namespace
        url = self.request.rel_url.build(path=f"{self.target.base}/{suffix}", query=query)
        return f'<{url}>; rel="next"'
