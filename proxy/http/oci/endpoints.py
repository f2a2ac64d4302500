"""The endpoints of the distribution API: one table, from which requests are answered and routes are listed."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from proxy.http.oci import blobs, catalog, manifests, ping, referrers, tags, uploads
from proxy.http.oci.call import Call
from proxy.http.oci.paths import Kind, Target, parse
from proxy.http.services import MIRROR, SERVICES
from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Say how a kind of path is written and which methods it answers.

    `reads` are answered wherever the path is, `writes` only where the repository can be written to. `everywhere` is
    False where the endpoint belongs to the whole registry, not to a rule: it is then absent from mirror listeners and
    from paths with a prefix.
    """

    template: str
    reads: Mapping[str, Handler] = field(default_factory=dict)
    writes: Mapping[str, Handler] = field(default_factory=dict)
    everywhere: bool = True

    @property
    def methods(self) -> Mapping[str, Handler]:
        """Return the handler of every method."""
        return {**self.reads, **self.writes}


ENDPOINTS: Mapping[Kind, Endpoint] = {
    Kind.PING: Endpoint("/v2/", {"GET": ping.get, "HEAD": ping.get}),
    Kind.CATALOG: Endpoint("/v2/_catalog", {"GET": catalog.get, "HEAD": catalog.get}, everywhere=False),
    Kind.MANIFEST: Endpoint(
        "/v2/<name>/manifests/<tag-or-digest>",
        {"GET": manifests.get, "HEAD": manifests.head},
        {"PUT": manifests.put, "DELETE": manifests.delete},
    ),
    Kind.BLOB: Endpoint("/v2/<name>/blobs/<digest>", {"GET": blobs.get, "HEAD": blobs.head}, {"DELETE": blobs.delete}),
    Kind.TAGS: Endpoint("/v2/<name>/tags/list", {"GET": tags.get, "HEAD": tags.get}),
    Kind.REFERRERS: Endpoint("/v2/<name>/referrers/<digest>", {"GET": referrers.get, "HEAD": referrers.get}),
    Kind.UPLOADS: Endpoint("/v2/<name>/blobs/uploads/", writes={"POST": uploads.post}),
    Kind.UPLOAD: Endpoint(
        "/v2/<name>/blobs/uploads/<session>",
        # Who asks about an upload is about to write: where that is refused, there are none.
        writes={
            "GET": uploads.status,
            "HEAD": uploads.status,
            "PATCH": uploads.patch,
            "PUT": uploads.put,
            "DELETE": uploads.delete,
        },
    ),
}


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer any request that no other surface takes."""
    target = _parse(request)
    mirror = request.app.get(MIRROR)
    _note(request, target)
    endpoint = ENDPOINTS[target.kind]
    if (mirror is not None and target.prefix) or ((mirror is not None or target.prefix) and not endpoint.everywhere):
        raise ProxyError(ErrorCode.NOT_FOUND)
    handler = endpoint.methods.get(request.method)
    if handler is None:
        raise ProxyError(ErrorCode.UNSUPPORTED, headers=_allow(endpoint.methods))
    try:
        return await handler(Call(request, target, request.app[SERVICES], mirror))
    except ProxyError as error:
        if error.code is ErrorCode.UNSUPPORTED:
            error.headers.update(_allow(endpoint.reads))
        raise


def routes() -> list[tuple[str, str]]:
    """Return (method, template) of every request that is answered; any template may also begin ``/<prefix>``."""
    return [(method, endpoint.template) for endpoint in ENDPOINTS.values() for method in endpoint.methods]


def _parse(request: web.Request) -> Target:
    try:
        return parse(request.raw_path)
    except ProxyError as error:
        # What cannot be a tag is unknown to who reads, and wrong of who writes.
        if error.code is ErrorCode.MANIFEST_UNKNOWN and request.method == hdrs.METH_PUT:
            raise ProxyError(ErrorCode.TAG_INVALID, error.message, detail=error.detail) from error
        raise


def _allow(methods: Iterable[str]) -> dict[str, str]:
    # RFC 9110 §15.5.6: 405 names what is allowed, be it nothing.
    return {hdrs.ALLOW: ", ".join(methods)}


def _note(request: web.Request, target: Target) -> None:
    trace = request[TRACE]
    trace.kind = target.kind
    trace.name = target.name or None
    trace.reference = str(target.reference) if target.reference is not None else target.session or None
