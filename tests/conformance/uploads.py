"""Every way to upload a blob (distribution-spec, "Pushing Blobs").

A style sends one blob and returns the answer to its last request, whatever it is; all answers before that are
required to be as the specification says.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from tests.conformance.registry import OCTETS, Answer, Blob, Query, Registry

Style = Callable[[Registry, str, Blob], Awaitable[Answer]]


async def begin(registry: Registry, repository: str, query: Query = ()) -> Answer:
    """Open an upload."""
    answer = (await registry.ask("POST", f"/v2/{repository}/blobs/uploads/", query=query)).expect(202)
    assert answer.location
    return answer


async def post_only(registry: Registry, repository: str, blob: Blob) -> Answer:
    target = f"/v2/{repository}/blobs/uploads/"
    return await registry.ask("POST", target, blob.content, query=[("digest", blob.digest)], headers=OCTETS)


async def post_and_put(registry: Registry, repository: str, blob: Blob) -> Answer:
    location = (await begin(registry, repository)).location
    return await registry.ask("PUT", location, blob.content, query=[("digest", blob.digest)], headers=OCTETS)


async def streamed(registry: Registry, repository: str, blob: Blob) -> Answer:
    """Send everything in one PATCH that tells neither range nor length."""
    location = (await begin(registry, repository)).location
    # Without bytes there is nothing to stream: Go's client then says Content-Length: 0.
    sent = await registry.ask("PATCH", location, blob.content, headers=OCTETS, chunked=bool(blob.content))
    return await close(registry, sent.expect(202).location, blob.digest)


async def chunked(
    registry: Registry, repository: str, blob: Blob, *, chunks: int = 1, by_put: bool = False, disorderly: bool = False
) -> Answer:
    """Send chunks in their order; `by_put`: the last one comes with the closing request.

    `disorderly`: before each of them another one, which is refused, after which the client asks where to go on.
    """
    begun = await begin(registry, repository)
    location, length = begun.location, len(blob.content)
    size = max(length // chunks + 1, int(begun.headers.get("OCI-Chunk-Min-Length", "0")))
    start = 0
    while start < length:
        if disorderly:
            location = await _send_elsewhere(registry, location, blob, start, size, by_put=by_put)
        stop = min(start + size, length)
        if by_put and stop == length:
            return await _send(registry, "PUT", location, blob, start, stop)
        sent = (await _send(registry, "PATCH", location, blob, start, stop)).expect(202)
        assert sent.offset == stop - 1
        location, start = sent.location, stop
    return await close(registry, location, blob.digest)


async def _send_elsewhere(registry: Registry, location: str, blob: Blob, start: int, size: int, *, by_put: bool) -> str:
    """Send the chunk after the one that is due, or the very first one again; return where the upload goes on."""
    wrong = start + size if start + size < len(blob.content) else 0
    stop = min(wrong + size, len(blob.content))
    method = "PUT" if by_put and stop == len(blob.content) else "PATCH"
    refused = (await _send(registry, method, location, blob, wrong, stop)).expect_error(416, "BLOB_UPLOAD_INVALID")
    assert refused.offset == max(start - 1, 0)
    # The query of the refused request stays: a client may ask the very URL it has just used.
    query = [("digest", blob.digest)] if method == "PUT" else ()
    status = await upload_status(registry, refused.location, query)
    assert status.offset == max(start - 1, 0)
    return status.location


async def _send(registry: Registry, method: str, location: str, blob: Blob, start: int, stop: int) -> Answer:
    headers = {**OCTETS, "Content-Range": f"{start}-{stop - 1}"}
    query = [("digest", blob.digest)] if method == "PUT" else ()
    return await registry.ask(method, location, blob.content[start:stop], query=query, headers=headers)


async def close(registry: Registry, location: str, digest: str) -> Answer:
    """Close an upload whose bytes are all there."""
    return await registry.ask("PUT", location, b"", query=[("digest", digest)], headers=OCTETS)


async def upload_status(registry: Registry, location: str, query: Query = ()) -> Answer:
    """Ask how far an upload is."""
    answer = (await registry.get(location, query=query)).expect(204)
    assert answer.location
    assert answer.body == b""
    return answer


async def mount(registry: Registry, repository: str, digest: str, source: str | None = None) -> Answer:
    """Ask for a blob of another repository, of any one without `source`."""
    query = [("mount", digest)] + ([("from", source)] if source is not None else [])
    return await registry.ask("POST", f"/v2/{repository}/blobs/uploads/", query=query)


STYLES: Mapping[str, Style] = {
    "post only": post_only,
    "post and put": post_and_put,
    "streamed": streamed,
    "one chunk": chunked,
    "one chunk by put": partial(chunked, by_put=True),
    "chunks": partial(chunked, chunks=3),
    "chunks, the last by put": partial(chunked, chunks=3, by_put=True),
    "chunks out of order": partial(chunked, chunks=3, disorderly=True),
    "chunks out of order, the last by put": partial(chunked, chunks=3, by_put=True, disorderly=True),
}
