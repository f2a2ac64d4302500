"""Manifests by tag and by digest (OCI distribution-spec end-3)."""

from aiohttp import web

from proxy.core.manifests import ManifestAnswer
from proxy.core.rules import Resolution
from proxy.http.oci import headers
from proxy.http.oci.call import Call
from proxy.model.digest import Digest
from proxy.model.ranges import parse_range
from proxy.model.reference import Tag


async def get(call: Call) -> web.StreamResponse:
    """Answer with the manifest's bytes exactly as they are stored."""
    resolution = call.resolve()
    answer = await call.services.manifests.get(resolution, _reference(call))
    if answer.raw is None:
        raise TypeError(f"the manifest service gave no bytes for {call.target.reference}")
    call.services.pulls.manifest_pulled(resolution, answer.digest)
    fields = _fields(call, resolution, answer)
    if headers.unchanged(call.request, answer.digest):
        return web.Response(status=304, headers=fields)
    fields["Content-Type"] = _media_type(answer)
    # containerd sends bytes=0- for manifests too, when it fetches layers in parallel.
    wanted = parse_range(headers.wanted_range(call.request, answer.digest))
    if wanted is None or not answer.raw:
        return web.Response(body=answer.raw, headers=fields)
    start, stop = wanted.resolve(len(answer.raw))
    fields["Content-Range"] = f"bytes {start}-{stop - 1}/{len(answer.raw)}"
    return web.Response(status=206, body=answer.raw[start:stop], headers=fields)


async def head(call: Call) -> web.StreamResponse:
    """Answer with the headers of the manifest; the service may know them without its bytes."""
    resolution = call.resolve()
    answer = await call.services.manifests.head(resolution, _reference(call))
    fields = _fields(call, resolution, answer)
    if headers.unchanged(call.request, answer.digest):
        return web.Response(status=304, headers=fields)
    return web.Response(headers=fields | {"Content-Type": _media_type(answer), "Content-Length": str(answer.size)})


def _fields(call: Call, resolution: Resolution, answer: ManifestAnswer) -> dict[str, str]:
    fields = call.fields(resolution, answer.status) | {
        "Docker-Content-Digest": str(answer.digest),
        "ETag": headers.entity_tag(answer.digest),
        "Cache-Control": headers.lifetime(call.target.reference),
        "Accept-Ranges": "bytes",
    }
    if answer.warning is not None:
        fields["Warning"] = headers.warning(answer.warning)
    return fields


def _reference(call: Call) -> Tag | Digest:
    if call.target.reference is None:
        raise TypeError("a manifest endpoint without a reference")
    return call.target.reference


def _media_type(answer: ManifestAnswer) -> str:
    # Clients compare it with the document's own mediaType, which has no parameters.
    return answer.media_type.partition(";")[0].strip()
