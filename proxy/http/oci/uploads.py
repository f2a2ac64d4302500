"""Blobs that clients push: in sessions, in single requests, by mounts (distribution-spec end-4 to 6, 11, 13, 14)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import hdrs, web

from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk, UploadRangeError, UploadStatus
from proxy.http import body
from proxy.http.oci.call import Call
from proxy.http.oci.needs import LAYER
from proxy.http.trace import Withheld
from proxy.model.chunk import ChunkRange
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError


async def post(call: Call) -> web.StreamResponse:
    """Mount a blob, or take a whole one, or begin an upload: whichever the query asks for and can be done."""
    resolution = await call.resolve_to_write()
    mounted, digest = _digest(call, "mount"), _digest(call, "digest")
    source = call.parameter("from", ErrorCode.NAME_INVALID)
    algorithm = call.parameter("digest-algorithm", ErrorCode.DIGEST_INVALID)
    if mounted is not None and await call.services.uploads.mount(
        resolution, mounted, source, partial(_may_read, call, mounted, named=source is not None)
    ):
        return _created(call, mounted)
    if digest is not None:
        await call.services.uploads.whole(resolution, digest, _chunk(call))
        return _created(call, digest)
    if algorithm is None:
        algorithm = mounted.algorithm if mounted is not None else "sha256"
    record = await call.services.uploads.begin(resolution, call.principal, algorithm)
    fields = _fields(call, UploadStatus(record, 0))
    if call.services.chunk_min_length:
        fields["OCI-Chunk-Min-Length"] = str(call.services.chunk_min_length)
    return web.Response(status=202, headers=fields)


async def status(call: Call) -> web.StreamResponse:
    """Answer with how far the upload is: where a client goes on after a refused or broken chunk."""
    resolution = await call.resolve_to_write()
    return web.Response(status=204, headers=_fields(call, await _status(call, resolution)))


async def patch(call: Call) -> web.StreamResponse:
    """Take the next chunk; without Content-Range that is the whole body, however long."""
    resolution, session = await call.resolve_to_write(), call.target.session
    async with _telling_where_to_go_on(call, resolution):
        reached = await call.services.uploads.append(resolution, call.principal, session, _chunk(call))
    return web.Response(status=202, headers=_fields(call, reached))


async def put(call: Call) -> web.StreamResponse:
    """Take the last chunk, which may be empty, and make a blob of the upload."""
    resolution, session = await call.resolve_to_write(), call.target.session
    digest = _digest(call, "digest")
    if digest is None:
        raise ProxyError(ErrorCode.DIGEST_INVALID, "the last request of an upload names its digest: ?digest=")
    async with _telling_where_to_go_on(call, resolution):
        await call.services.uploads.finish(resolution, call.principal, session, digest, _chunk(call))
    return _created(call, digest)


async def delete(call: Call) -> web.StreamResponse:
    """End the upload and drop its bytes."""
    resolution = await call.resolve_to_write()
    await call.services.uploads.cancel(resolution, call.principal, call.target.session)
    return web.Response(status=204)


def _chunk(call: Call) -> Chunk:
    body.require_identity(call.request)
    given = call.request.headers.get(hdrs.CONTENT_RANGE)
    span = ChunkRange.parse(given) if given is not None else None
    return Chunk(body.stream(call.request, ErrorCode.BLOB_UPLOAD_INVALID), span, body.length_of(call.request))


@asynccontextmanager
async def _telling_where_to_go_on(call: Call, resolution: Resolution) -> AsyncIterator[None]:
    """Let the answer to a chunk that is refused, malformed or never came to its end say how far the upload is."""
    try:
        yield
    except ProxyError as error:
        if error.code is not ErrorCode.BLOB_UPLOAD_INVALID:
            raise
        reached = error.status if isinstance(error, UploadRangeError) else await _status(call, resolution)
        error.headers.update(_fields(call, reached))
        error.detail["size"] = reached.size
        raise


async def _status(call: Call, resolution: Resolution) -> UploadStatus:
    return await call.services.uploads.status(resolution, call.principal, call.target.session)


def _fields(call: Call, reached: UploadStatus) -> dict[str, str]:
    upload = reached.record.id
    return {
        "Location": f"{call.target.base}/{call.target.name}/blobs/uploads/{upload}",
        # Inclusive, so that nothing and one byte look alike: the form has no way to say nothing.
        "Range": f"0-{max(reached.size - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }


async def _may_read(call: Call, digest: Digest, source: Resolution, *, named: bool) -> bool:
    """Tell whether the caller may pull from a repository that holds the blob which is to be mounted."""
    may = await call.permits(source, LAYER)
    if named and not may:
        # The client is not told: it pushes the blob then.
        call.trace.withheld = Withheld(LAYER.operation, source.repository, str(digest))
    return may


def _created(call: Call, digest: Digest) -> web.Response:
    location = f"{call.target.base}/{call.target.name}/blobs/{digest}"
    return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": str(digest)})


def _digest(call: Call, name: str) -> Digest | None:
    text = call.parameter(name, ErrorCode.DIGEST_INVALID)
    return Digest.parse(text) if text is not None else None
