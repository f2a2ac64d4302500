"""Manifests by tag and by digest (OCI distribution-spec end-3, end-7, end-9)."""

from functools import lru_cache

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.core.manifests import ManifestAnswer
from proxy.core.pushes import PushedManifest
from proxy.core.rules import Resolution
from proxy.http import body
from proxy.http.oci import headers
from proxy.http.oci.call import Call
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import MANIFEST_LIMIT
from proxy.model.ranges import parse_range
from proxy.model.reference import Tag, is_tag

_Fields = CIMultiDict[str] | CIMultiDictProxy[str]

_TAGS_LIMIT = 64
"""The most tags that one push may set: each is a field of the answer, of which some clients read 100 at most."""


async def get(call: Call) -> web.StreamResponse:
    """Answer with the manifest's bytes exactly as they are stored."""
    resolution = await call.resolve()
    answer = await call.services.manifests.get(resolution, _reference(call))
    if answer.raw is None:
        raise TypeError(f"the manifest service gave no bytes for {call.target.reference}")
    call.services.pulls.manifest_pulled(resolution, answer.digest)
    fields = _fields(call, resolution, answer)
    if headers.unchanged(call.request, answer.digest):
        return _unchanged(fields)
    # containerd sends bytes=0- for manifests too, when it fetches layers in parallel.
    wanted = parse_range(headers.wanted_range(call.request, answer.digest))
    if wanted is None or not answer.raw:
        return web.Response(body=answer.raw, headers=fields)
    start, stop = wanted.resolve(len(answer.raw))
    response = web.Response(status=206, body=answer.raw[start:stop], headers=fields)
    response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(answer.raw)}"
    return response


async def head(call: Call) -> web.StreamResponse:
    """Answer with the headers of the manifest; the service may know them without its bytes."""
    resolution = await call.resolve()
    answer = await call.services.manifests.head(resolution, _reference(call))
    fields = _fields(call, resolution, answer)
    if headers.unchanged(call.request, answer.digest):
        return _unchanged(fields)
    response = web.Response(headers=fields)
    response.headers[hdrs.CONTENT_LENGTH] = str(answer.size)
    return response


async def put(call: Call) -> web.StreamResponse:
    """Take a manifest exactly as it is sent, with the tags that the path or the query names."""
    resolution, reference = await call.resolve_to_write(), _reference(call)
    tags, media_type = _tags(call, reference), call.request.headers.get(hdrs.CONTENT_TYPE)
    body.require_identity(call.request)
    too_large = ProxyError(ErrorCode.SIZE_INVALID, f"a manifest may have {MANIFEST_LIMIT} bytes at most")
    raw = await body.read(call.request, MANIFEST_LIMIT, ErrorCode.MANIFEST_INVALID, too_large)
    kept = await call.services.pushes.put(resolution, PushedManifest(raw, media_type, reference, tags))
    fields = CIMultiDict(
        {
            "Location": f"{call.target.base}/{call.target.name}/manifests/{kept.digest}",
            "Docker-Content-Digest": str(kept.digest),
        }
    )
    if kept.subject is not None:
        # Who does not see this keeps a list of referrers by itself, as a tag.
        fields["OCI-Subject"] = str(kept.subject)
    for tag in kept.tags:
        fields.add("OCI-Tag", tag)
    return web.Response(status=201, headers=fields)


async def delete(call: Call) -> web.StreamResponse:
    """Delete a tag, or a manifest with all its tags."""
    resolution = await call.resolve_to_write()
    await call.services.deletions.manifest(resolution, _reference(call))
    return web.Response(status=202)


def _tags(call: Call, reference: Tag | Digest) -> tuple[Tag, ...]:
    texts = list(dict.fromkeys(call.request.query.getall("tag", ())))
    if texts and not isinstance(reference, Digest):
        raise ProxyError(ErrorCode.TAG_INVALID, "?tag= goes with a push by digest; this one names its tag in the path")
    if len(texts) > _TAGS_LIMIT:
        raise ProxyError(ErrorCode.TAG_INVALID, f"a push may set {_TAGS_LIMIT} tags at most, not {len(texts)}")
    for text in texts:
        if not is_tag(text):
            raise ProxyError(
                ErrorCode.TAG_INVALID,
                "a tag is 1 to 128 letters, digits, . _ or -, and begins with a letter, a digit or _",
                detail={"tag": text[:200]},
            )
    return tuple(Tag(text) for text in texts)


def _unchanged(fields: _Fields) -> web.Response:
    response = web.Response(status=304, headers=fields)
    del response.headers[hdrs.CONTENT_TYPE]
    return response


def _fields(call: Call, resolution: Resolution, answer: ManifestAnswer) -> _Fields:
    lifetime = headers.lifetime(call.target.reference, call.caller)
    common = tuple(call.fields(resolution, answer.status).items())
    usual = _usual_fields(answer.digest, answer.media_type, lifetime, common)
    if answer.warning is None:
        return usual
    fields = usual.copy()
    fields["Warning"] = headers.warning(answer.warning)
    return fields


@lru_cache(maxsize=1024)
def _usual_fields(
    digest: Digest, media_type: str, lifetime: str, common: tuple[tuple[str, str], ...]
) -> CIMultiDictProxy[str]:
    fields = CIMultiDict(
        {
            "Docker-Content-Digest": str(digest),
            "ETag": headers.entity_tag(digest),
            "Cache-Control": lifetime,
            "Accept-Ranges": "bytes",
            # Clients compare it with the document's own mediaType, which has no parameters.
            "Content-Type": media_type.partition(";")[0].strip(),
        }
    )
    fields.update(common)
    return CIMultiDictProxy(fields)


def _reference(call: Call) -> Tag | Digest:
    if call.target.reference is None:
        raise TypeError("a manifest endpoint without a reference")
    return call.target.reference
