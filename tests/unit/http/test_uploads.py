"""Blobs that clients push: every style of upload, and what its answers tell."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from proxy.http.application import build_application
from proxy.model.digest import Digest
from tests.unit.http.conftest import Client, Stack
from tests.unit.http.pusher import begin, code_of, push_blob

CONTENT = bytes(range(256)) * 40
DIGEST = Digest.of(CONTENT)
UPLOADS = "/v2/team/app/blobs/uploads/"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Style = Callable[[Client, bytes, Digest], Awaitable[int]]


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


async def one_post(client: Client, content: bytes, digest: Digest) -> int:
    return (await client.post(f"{UPLOADS}?digest={digest}", data=content)).status


async def post_and_put(client: Client, content: bytes, digest: Digest) -> int:
    return (await client.put(f"{await begin(client)}?digest={digest}", data=content)).status


async def one_patch_with_length(client: Client, content: bytes, digest: Digest) -> int:
    sent = await client.patch(await begin(client), data=content)
    assert sent.status == 202
    return (await client.put(f"{sent.headers['Location']}?digest={digest}")).status


async def one_patch_in_pieces(client: Client, content: bytes, digest: Digest) -> int:
    sent = await client.patch(await begin(client), data=in_pieces(content))
    assert sent.status == 202
    return (await client.put(f"{sent.headers['Location']}?digest={digest}")).status


async def chunks(client: Client, content: bytes, digest: Digest, *, last_by_put: bool = False) -> int:
    location, half = await begin(client), len(content) // 2
    for start, stop in ((0, half), (half, len(content))):
        if start == stop:
            continue
        method = "PUT" if last_by_put and stop == len(content) else "PATCH"
        url = f"{location}?digest={digest}" if method == "PUT" else location
        span = {"Content-Range": f"{start}-{stop - 1}"}
        sent = await client.request(method, url, data=content[start:stop], headers=span)
        if method == "PUT":
            return sent.status
        assert sent.status == 202
        assert sent.headers["Range"] == f"0-{stop - 1}"
        location = sent.headers["Location"]
    return (await client.put(f"{location}?digest={digest}")).status


async def chunks_and_put(client: Client, content: bytes, digest: Digest) -> int:
    return await chunks(client, content, digest, last_by_put=True)


STYLES: list[Style] = [one_post, post_and_put, one_patch_with_length, one_patch_in_pieces, chunks, chunks_and_put]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [CONTENT, b"", b"{}"], ids=["bytes", "nothing", "{}"])
@pytest.mark.parametrize("style", STYLES)
async def test_every_style_of_upload_makes_a_blob(client: Client, style: Style, content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert await style(client, content, digest) == 201
    got = await client.get(f"/v2/team/app/blobs/{digest}")
    assert got.status == 200
    assert await got.read() == content
    assert got.headers["Docker-Content-Digest"] == str(digest)


@pytest.mark.parametrize("style", STYLES)
async def test_other_bytes_than_the_digest_names_are_refused_and_nothing_is_kept(
    client: Client, stack: Stack, style: Style
) -> None:
    assert await style(client, CONTENT + b"x", DIGEST) == 400
    assert (await client.get(f"/v2/team/app/blobs/{DIGEST}")).status == 404
    assert await stack.store.stat(DIGEST) is None


async def test_an_upload_begins_with_where_to_send_it(client: Client) -> None:
    answer = await client.post(UPLOADS)
    assert answer.status == 202
    upload = answer.headers["Docker-Upload-UUID"]
    assert _ID.fullmatch(upload)
    assert answer.headers["Location"] == f"{UPLOADS}{upload}"
    assert answer.headers["Range"] == "0-0"
    assert answer.headers["Content-Length"] == "0"
    assert "OCI-Chunk-Min-Length" not in answer.headers
    assert await answer.read() == b""


async def test_the_slash_at_the_end_may_be_missing(client: Client) -> None:
    assert (await client.post(UPLOADS.rstrip("/"))).status == 202


async def test_a_minimum_of_chunks_is_advised(stack: Stack, aiohttp_client: AiohttpClient) -> None:
    services = replace(stack.services, chunk_min_length=5 << 20)
    client = await aiohttp_client(build_application(services, mirror=None))
    answer = await client.post(UPLOADS)
    assert answer.headers["OCI-Chunk-Min-Length"] == "5242880"
    assert (await client.patch(answer.headers["Location"], data=b"small")).status == 202


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_the_algorithm_may_be_named_at_the_beginning(client: Client, algorithm: str) -> None:
    begun = await client.post(f"{UPLOADS}?digest-algorithm={algorithm}")
    assert begun.status == 202
    done = await client.put(f"{begun.headers['Location']}?digest={Digest.of(CONTENT, algorithm)}", data=CONTENT)
    assert done.status == 201


async def test_the_algorithm_named_at_the_end_counts(client: Client) -> None:
    begun = await client.post(f"{UPLOADS}?digest-algorithm=sha256")
    done = await client.put(f"{begun.headers['Location']}?digest={Digest.of(CONTENT, 'sha512')}", data=CONTENT)
    assert done.status == 201


@pytest.mark.parametrize("algorithm", ["md5", "SHA256", "", "../sha256", "sha256&digest-algorithm=sha512"])
async def test_an_algorithm_that_is_not_kept_is_refused(client: Client, algorithm: str) -> None:
    answer = await client.post(f"{UPLOADS}?digest-algorithm={algorithm}")
    assert answer.status == 400
    assert await code_of(answer) == "DIGEST_INVALID"


async def test_a_finished_upload_is_told_by_digest_and_its_session_is_over(client: Client) -> None:
    location = await begin(client)
    done = await client.put(f"{location}?digest={DIGEST}", data=CONTENT)
    assert done.headers["Location"] == f"/v2/team/app/blobs/{DIGEST}"
    assert done.headers["Docker-Content-Digest"] == str(DIGEST)
    assert "Docker-Upload-UUID" not in done.headers
    assert (await client.get(done.headers["Location"])).status == 200
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        assert (await client.request(method, location)).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_status_of_an_upload(client: Client, method: str) -> None:
    location = await begin(client)
    empty = await client.request(method, location)
    assert (empty.status, empty.headers["Range"]) == (204, "0-0")
    await client.patch(location, data=CONTENT)
    answer = await client.request(method, location)
    assert answer.status == 204
    assert answer.headers["Range"] == f"0-{len(CONTENT) - 1}"
    assert answer.headers["Location"] == location
    assert location.endswith(answer.headers["Docker-Upload-UUID"])
    assert await answer.read() == b""


async def test_an_upload_can_be_cancelled(client: Client) -> None:
    location = await begin(client)
    await client.patch(location, data=CONTENT)
    assert (await client.delete(location)).status == 204
    assert (await client.delete(location)).status == 404
    assert (await client.put(f"{location}?digest={DIGEST}")).status == 404


@pytest.mark.parametrize(
    "span",
    ["5000-10239", "0-1", "4000-3999", "x-y", "bytes 4000-10239/10240", "-5", "4000-", "", f"4000-{'9' * 500}", "4000"],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_chunk_that_does_not_continue_the_upload_is_416_and_tells_where_to_go_on(
    client: Client, span: str, method: str
) -> None:
    location = await begin(client)
    await client.patch(location, data=CONTENT[:4000])
    url = f"{location}?digest={DIGEST}" if method == "PUT" else location
    refused = await client.request(method, url, data=CONTENT[4000:], headers={"Content-Range": span})
    assert refused.status == 416
    assert await code_of(refused) == "BLOB_UPLOAD_INVALID"
    assert refused.headers["Range"] == "0-3999"
    assert refused.headers["Location"] == location
    assert (await client.get(location)).headers["Range"] == "0-3999"
    rest = {"Content-Range": f"4000-{len(CONTENT) - 1}"}
    done = await client.put(f"{location}?digest={DIGEST}", data=CONTENT[4000:], headers=rest)
    assert done.status == 201


@pytest.mark.parametrize("claimed", [len(CONTENT) - 1, len(CONTENT) + 1])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_nothing_is_kept_of_a_chunk_that_is_not_as_long_as_it_says(
    client: Client, claimed: int, *, chunked: bool
) -> None:
    location = await begin(client)
    data = in_pieces(CONTENT) if chunked else CONTENT
    refused = await client.patch(location, data=data, headers={"Content-Range": f"0-{claimed - 1}"})
    assert refused.status == 416
    assert refused.headers["Range"] == "0-0"
    assert (await client.put(f"{location}?digest={Digest.of(b'')}")).status == 201


async def test_an_upload_without_a_digest_is_not_finished(client: Client) -> None:
    location = await begin(client)
    await client.patch(location, data=CONTENT)
    answer = await client.put(location)
    assert answer.status == 400
    assert await code_of(answer) == "DIGEST_INVALID"
    assert (await client.put(f"{location}?digest={DIGEST}")).status == 201


@pytest.mark.parametrize(
    "query",
    ["digest=sha256:abc", f"digest=md5:{'0' * 32}", "digest=", f"digest={DIGEST}&digest={DIGEST}", "digest=../../x"],
)
async def test_a_malformed_digest_is_refused_and_the_upload_goes_on(client: Client, query: str) -> None:
    location = await begin(client)
    answer = await client.put(f"{location}?{query}", data=CONTENT)
    assert answer.status == 400
    assert await code_of(answer) == "DIGEST_INVALID"
    assert (await client.put(f"{location}?digest={DIGEST}", data=CONTENT)).status == 201
    assert (await client.post(f"{UPLOADS}?{query}", data=CONTENT)).status == 400


async def test_a_wrong_digest_ends_the_upload(client: Client) -> None:
    location = await begin(client)
    await client.patch(location, data=CONTENT)
    answer = await client.put(f"{location}?digest={Digest.of(b'other')}")
    assert answer.status == 400
    assert await code_of(answer) == "DIGEST_INVALID"
    assert (await client.get(location)).status == 404


@pytest.mark.parametrize("source", ["&from=team/base", "", "&from=team%2Fbase"])
async def test_a_blob_is_mounted_from_a_repository_that_holds_it(client: Client, source: str) -> None:
    await push_blob(client, CONTENT, "team/base")
    answer = await client.post(f"{UPLOADS}?mount={DIGEST}{source}")
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{DIGEST}"
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert await (await client.get(answer.headers["Location"])).read() == CONTENT


@pytest.mark.parametrize("source", ["&from=team/none", "", "&from=", "&from=NO/../name", "&from=quay/a", "&from=quay"])
async def test_a_mount_that_cannot_be_done_begins_an_upload(client: Client, stack: Stack, source: str) -> None:
    answer = await client.post(f"{UPLOADS}?mount={DIGEST}{source}")
    assert answer.status == 202
    assert answer.headers["Location"].startswith(UPLOADS)
    assert (await client.get(f"/v2/team/app/blobs/{DIGEST}")).status == 404
    assert stack.upstream.requests == []


async def test_a_mount_that_cannot_be_done_may_bring_its_content(client: Client) -> None:
    answer = await client.post(f"{UPLOADS}?mount={DIGEST}&from=team/none&digest={DIGEST}", data=CONTENT)
    assert answer.status == 201
    assert (await client.get(f"/v2/team/app/blobs/{DIGEST}")).status == 200


@pytest.mark.parametrize(
    "query", ["mount=x", "mount=", f"mount={DIGEST}&mount={DIGEST}", f"mount={DIGEST}&from=a&from=b"]
)
async def test_a_malformed_mount_is_refused(client: Client, query: str) -> None:
    assert (await client.post(f"{UPLOADS}?{query}")).status == 400


async def test_a_blob_can_be_deleted_and_pushed_again(client: Client) -> None:
    await push_blob(client, CONTENT)
    path = f"/v2/team/app/blobs/{DIGEST}"
    deleted = await client.delete(path)
    assert deleted.status == 202
    assert (await client.get(path)).status == 404
    again = await client.delete(path)
    assert again.status == 404
    assert await code_of(again) == "BLOB_UNKNOWN"
    await push_blob(client, CONTENT)
    assert (await client.get(path)).status == 200


async def test_what_is_pushed_below_a_rule_that_permits_it_is_served_from_here(client: Client, stack: Stack) -> None:
    await push_blob(client, CONTENT, "open/app")
    assert await (await client.get(f"/v2/open/app/blobs/{DIGEST}")).read() == CONTENT
    assert stack.upstream.requests == []


async def test_what_finds_no_room_is_507_and_goes_on_when_there_is_some(client: Client, stack: Stack) -> None:
    location, capacity = await begin(client), stack.store.capacity
    stack.store.capacity = len(CONTENT) - 1
    for method, url in (
        ("POST", f"{UPLOADS}?digest={DIGEST}"),
        ("PATCH", location),
        ("PUT", f"{location}?digest={DIGEST}"),
    ):
        refused = await client.request(method, url, data=CONTENT)
        assert refused.status == 507
        assert await code_of(refused) == "STORAGE_FULL"
    stack.store.capacity = capacity
    assert (await client.put(f"{location}?digest={DIGEST}", data=CONTENT)).status == 201


async def test_a_push_costs_a_cache_nothing(client: Client, stack: Stack) -> None:
    answer = await client.post("/v2/quay/app/blobs/uploads/", data=CONTENT)
    assert answer.status == 405
    assert "push: allow" in await answer.text()
    assert stack.upstream.requests == []
