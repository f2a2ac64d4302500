"""The endpoints of the distribution API: one table, from which requests are answered and routes are listed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from proxy.http.oci import blobs, catalog, manifests, ping, referrers, tags
from proxy.http.oci.call import Call
from proxy.http.oci.paths import Kind, Target, parse
from proxy.http.services import MIRROR, SERVICES
from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Say how a kind of path is written and which methods it answers.

    `everywhere` is False where the endpoint belongs to the whole registry, not to a rule: it is then absent from
    mirror listeners and from paths with a prefix.
    """

    template: str
    methods: Mapping[str, Handler] = field(default_factory=dict)
    everywhere: bool = True


ENDPOINTS: Mapping[Kind, Endpoint] = {
    Kind.PING: Endpoint("/v2/", {"GET": ping.get, "HEAD": ping.get}),
    Kind.CATALOG: Endpoint("/v2/_catalog", {"GET": catalog.get, "HEAD": catalog.get}, everywhere=False),
    Kind.MANIFEST: Endpoint("/v2/<name>/manifests/<tag-or-digest>", {"GET": manifests.get, "HEAD": manifests.head}),
    Kind.BLOB: Endpoint("/v2/<name>/blobs/<digest>", {"GET": blobs.get, "HEAD": blobs.head}),
    Kind.TAGS: Endpoint("/v2/<name>/tags/list", {"GET": tags.get, "HEAD": tags.get}),
    Kind.REFERRERS: Endpoint("/v2/<name>/referrers/<digest>", {"GET": referrers.get, "HEAD": referrers.get}),
    Kind.UPLOADS: Endpoint("/v2/<name>/blobs/uploads/"),
    Kind.UPLOAD: Endpoint("/v2/<name>/blobs/uploads/<session>"),
}


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer any request that no other surface takes."""
    target = parse(request.raw_path)
    mirror = request.app.get(MIRROR)
    _note(request, target)
    endpoint = ENDPOINTS[target.kind]
    if (mirror is not None and target.prefix) or ((mirror is not None or target.prefix) and not endpoint.everywhere):
        raise ProxyError(ErrorCode.NOT_FOUND)
    handler = endpoint.methods.get(request.method)
    if handler is None:
        # RFC 9110 §15.5.6: 405 names what is allowed, be it nothing.
        raise ProxyError(ErrorCode.UNSUPPORTED, headers={"Allow": ", ".join(endpoint.methods)})
    return await handler(Call(request, target, request.app[SERVICES], mirror))


def routes() -> list[tuple[str, str]]:
    """Return (method, template) of every request that is answered; any template may also begin ``/<prefix>``."""
    return [(method, endpoint.template) for endpoint in ENDPOINTS.values() for method in endpoint.methods]


def _note(request: web.Request, target: Target) -> None:
    trace = request[TRACE]
    trace.kind = target.kind
    trace.name = target.name or None
    trace.reference = str(target.reference) if target.reference is not None else None
