"""Blobs by digest (OCI distribution-spec end-2, end-10)."""

from functools import lru_cache

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.core.rules import Resolution
from proxy.http.oci import headers
from proxy.http.oci.call import Call
from proxy.http.transfer import send
from proxy.model.cache_status import CacheStatus
from proxy.model.digest import Digest
from proxy.model.ranges import parse_range


async def get(call: Call) -> web.StreamResponse:
    """Stream the blob, or the one range of it that was asked for."""
    resolution, digest = await call.resolve(), call.target.digest
    if headers.unchanged_whatever_exists(call.request):
        return await head(call)
    if headers.unchanged(call.request, digest):
        return web.Response(status=304, headers=_fields(call, resolution, None))
    wanted = parse_range(headers.wanted_range(call.request, digest))
    source = await call.services.blobs.open(resolution, digest)
    if wanted is None or wanted.is_whole:
        call.services.pulls.blob_pulled(resolution, digest)
    try:
        fields = _fields(call, resolution, source.status)
        fields["Content-Type"] = "application/octet-stream"
        status, start, stop = 200, 0, source.total
        # RFC 9110 §14.2: Range may be ignored. Clients that always send bytes=0- need not fail on empty content.
        if wanted is not None and source.total > 0:
            status, (start, stop) = 206, wanted.resolve(source.total)
            fields["Content-Range"] = f"bytes {start}-{stop - 1}/{source.total}"
        fields["Content-Length"] = str(stop - start)
        found = source.at_rest()
        if isinstance(found, bytes):
            return web.Response(status=status, headers=fields, body=found[start:stop])
        return await send(call.request, web.StreamResponse(status=status, headers=fields), source, start, stop)
    finally:
        source.close()


async def head(call: Call) -> web.StreamResponse:
    """Answer with the headers of the blob; no transfer begins."""
    resolution, digest = await call.resolve(), call.target.digest
    if headers.unchanged(call.request, digest) and not headers.unchanged_whatever_exists(call.request):
        return web.Response(status=304, headers=_fields(call, resolution, None))
    found = await call.services.blobs.head(resolution, digest)
    fields = _fields(call, resolution, found.status)
    if headers.unchanged_whatever_exists(call.request):
        return web.Response(status=304, headers=fields)
    fields["Content-Type"], fields["Content-Length"] = "application/octet-stream", str(found.size)
    return web.Response(headers=fields)


async def delete(call: Call) -> web.StreamResponse:
    """Take the blob from this repository."""
    resolution = await call.resolve_to_write()
    await call.services.deletions.blob(resolution, call.target.digest)
    return web.Response(status=202)


def _fields(call: Call, resolution: Resolution, status: CacheStatus | None) -> CIMultiDict[str]:
    digest = call.target.digest
    common = tuple(call.fields(resolution, status).items())
    return _usual_fields(digest, headers.lifetime(digest, call.caller), common).copy()


@lru_cache(maxsize=1024)
def _usual_fields(digest: Digest, lifetime: str, common: tuple[tuple[str, str], ...]) -> CIMultiDictProxy[str]:
    fields = CIMultiDict(common)
    fields.update(
        {
            "Docker-Content-Digest": str(digest),
            "ETag": headers.entity_tag(digest),
            "Cache-Control": lifetime,
            # oras-go seeks only where this says so.
            "Accept-Ranges": "bytes",
        }
    )
    return CIMultiDictProxy(fields)
