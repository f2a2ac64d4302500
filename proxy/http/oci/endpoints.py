"""The endpoints of the distribution API: one table, from which requests are answered and routes are listed."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from aiohttp import hdrs, web

from proxy.core.access.authorizer import ScopeError
from proxy.core.access.caller import Caller
from proxy.core.access.scopes import CATALOG, CATALOG_SCOPE, spell_scope
from proxy.core.translation import FetchRefusedError
from proxy.http.access.admission import admit, admit_anyone
from proxy.http.access.browsers import refuse_other_pages
from proxy.http.access.challenge import Demand
from proxy.http.oci import blobs, catalog, manifests, needs, ping, referrers, tags, token, uploads
from proxy.http.oci.call import Call
from proxy.http.oci.needs import Need
from proxy.http.oci.paths import Kind, Target, parse
from proxy.http.services import MIRROR, SERVICES
from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method of an endpoint, and what a caller must be permitted to do for it.

    `need` is None where the endpoint concerns no repository: its handler tells what it asks for.
    """

    handler: Handler
    need: Need | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Say how a kind of path is written and which methods it answers.

    `reads` are answered wherever the path is, `writes` only where the repository can be written to. `everywhere` is
    False where the endpoint belongs to the whole registry, not to a rule: it is then absent from mirror listeners and
    from paths with a prefix.
    """

    template: str
    reads: Mapping[str, Route] = field(default_factory=dict)
    writes: Mapping[str, Route] = field(default_factory=dict)
    everywhere: bool = True

    @property
    def methods(self) -> Mapping[str, Route]:
        """Return the route of every method."""
        return {**self.reads, **self.writes}


ENDPOINTS: Mapping[Kind, Endpoint] = {
    Kind.PING: Endpoint("/v2/", {"GET": Route(ping.get), "HEAD": Route(ping.get)}),
    Kind.TOKEN: Endpoint("/v2/token", {"GET": Route(token.get), "HEAD": Route(token.get), "POST": Route(token.post)}),
    Kind.CATALOG: Endpoint("/v2/_catalog", {"GET": Route(catalog.get), "HEAD": Route(catalog.get)}, everywhere=False),
    Kind.MANIFEST: Endpoint(
        "/v2/<name>/manifests/<tag-or-digest>",
        {"GET": Route(manifests.get, needs.IMAGE), "HEAD": Route(manifests.head, needs.IMAGE)},
        {
            "PUT": Route(manifests.put, needs.PUT_IMAGE),
            "DELETE": Route(manifests.delete, needs.DELETE),
        },
    ),
    Kind.BLOB: Endpoint(
        "/v2/<name>/blobs/<digest>",
        {
            "GET": Route(blobs.get, needs.LAYER),
            "HEAD": Route(blobs.head, needs.LAYER_EXISTS),
        },
        {"DELETE": Route(blobs.delete, needs.DELETE)},
    ),
    Kind.TAGS: Endpoint(
        "/v2/<name>/tags/list", {"GET": Route(tags.get, needs.LIST), "HEAD": Route(tags.get, needs.LIST)}
    ),
    Kind.REFERRERS: Endpoint(
        "/v2/<name>/referrers/<digest>",
        {"GET": Route(referrers.get, needs.LIST), "HEAD": Route(referrers.get, needs.LIST)},
    ),
    Kind.UPLOADS: Endpoint(
        "/v2/<name>/blobs/uploads/",
        writes={"POST": Route(uploads.post, needs.BEGIN)},
    ),
    Kind.UPLOAD: Endpoint(
        "/v2/<name>/blobs/uploads/<session>",
        # Who asks about an upload is about to write: where that is refused, there are none.
        writes={
            "GET": Route(uploads.status, needs.CHUNK),
            "HEAD": Route(uploads.status, needs.CHUNK),
            "PATCH": Route(uploads.patch, needs.CHUNK),
            "PUT": Route(uploads.put, needs.COMPLETE),
            # Who may push may also give up what was begun: nothing that was stored goes with it.
            "DELETE": Route(uploads.delete, needs.CHUNK),
        },
    ),
}


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer any request that no other surface takes."""
    target, app, trace = _parse(request), request.app, request[TRACE]
    services, mirror = app[SERVICES], app.get(MIRROR)
    authentication = services.authentication
    if target.kind is Kind.TOKEN and (authentication is None or not authentication.gives_tokens):
        raise ProxyError(ErrorCode.NOT_FOUND)
    trace.kind, trace.name, trace.reference = target.kind, target.name or None, target.shown
    endpoint = ENDPOINTS[target.kind]
    route = _route(request, target, endpoint, mirror)
    refuse_other_pages(request)
    caller: Caller | None = None
    try:
        if authentication is not None:
            caller = await _caller(request, target, mirror=mirror is not None)
        else:
            caller = admit_anyone(services, trace)
        response = await route.handler(Call(request, trace, target, services, mirror, caller, route.need))
    except ProxyError as error:
        if isinstance(error, FetchRefusedError):
            _note_refusal(request)
        if error.code is ErrorCode.UNSUPPORTED:
            error.headers.update(_allow(endpoint.reads))
        if authentication is None:
            raise
        if caller is None or not caller.anonymous:
            _keep_private(error.headers)
        if error.code is ErrorCode.UNAUTHORIZED:
            demand = _demand(request, target, route.need, mirror=mirror is not None)
            return authentication.challenge(request, error, demand, caller)
        raise
    if not caller.anonymous:
        _keep_private(response.headers)
    return response


def routes() -> list[tuple[str, str]]:
    """Return (method, template) of every request that is answered; any template may also begin ``/<prefix>``."""
    return [(method, endpoint.template) for endpoint in ENDPOINTS.values() for method in endpoint.methods]


def _route(request: web.Request, target: Target, endpoint: Endpoint, mirror: str | None) -> Route:
    if (mirror is not None and target.prefix) or ((mirror is not None or target.prefix) and not endpoint.everywhere):
        raise ProxyError(ErrorCode.NOT_FOUND)
    route = endpoint.reads.get(request.method) or endpoint.writes.get(request.method)
    if route is None:
        raise ProxyError(ErrorCode.UNSUPPORTED, headers=_allow(endpoint.methods))
    return route


def _parse(request: web.Request) -> Target:
    try:
        return parse(request.raw_path)
    except ProxyError as error:
        # What cannot be a tag is unknown to who reads, and wrong of who writes.
        if error.code is ErrorCode.MANIFEST_UNKNOWN and request.method == hdrs.METH_PUT:
            raise ProxyError(ErrorCode.TAG_INVALID, error.message, detail=error.detail) from error
        raise


async def _caller(request: web.Request, target: Target, *, mirror: bool) -> Caller:
    if target.kind is Kind.TOKEN:
        return Caller()  # who it is, the form may tell
    ticket = target.kind is Kind.BLOB and request.method in {hdrs.METH_GET, hdrs.METH_HEAD}
    caller = await admit(request, mirror=mirror or bool(target.prefix), ticket=ticket)
    if target.kind is not Kind.CATALOG or caller.scopes is None:
        return caller
    if CATALOG not in caller.scopes:
        raise ScopeError
    # Names of repositories in the token are not what limits the list.
    return replace(caller, scopes=None)


def _demand(request: web.Request, target: Target, need: Need | None, *, mirror: bool) -> Demand:
    """Return what a request lacked that was refused for want of credentials."""
    if target.kind is Kind.TOKEN:
        return Demand(mirror=mirror)
    scope = CATALOG_SCOPE if target.kind is Kind.CATALOG else ""
    if need is not None:
        trace = request[TRACE]
        # At the token endpoint ``ns`` is not known, so there the repository has to go by its own name.
        spelled = trace.repository if trace.namespace is not None else None
        scope = spell_scope(spelled or target.name, need.action)
    return Demand(target.base, scope, mirror=mirror)


def _keep_private(headers: MutableMapping[str, str]) -> None:
    """Tell caches in front of the registry that the answer is for who asked: they need not mind ``Authorization``."""
    headers.setdefault(hdrs.CACHE_CONTROL, "private, no-cache")


def _note_refusal(request: web.Request) -> None:
    """Let the audit trail know that the caller may read what is kept, and not have anything fetched."""
    trace = request[TRACE]
    trace.operation, trace.action, trace.refused = needs.FIRST_PULL.operation, needs.FIRST_PULL.action, True


def _allow(methods: Iterable[str]) -> dict[str, str]:
    # RFC 9110 §15.5.6: 405 names what is allowed, be it nothing.
    return {hdrs.ALLOW: ", ".join(methods)}
