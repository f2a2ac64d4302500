"""Blobs over HTTP: ranges, conditions, and blobs that are still growing."""

import asyncio

import pytest
from aiohttp import ClientPayloadError

from proxy.model.digest import Digest
from tests.unit.http.conftest import Client, Stack

BLOB = bytes(range(256)) * 40
SIZE = len(BLOB)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/docker-hub/library/nginx/blobs/{DIGEST}"


@pytest.fixture(autouse=True)
def blob(stack: Stack) -> None:
    stack.upstream.hold_blob(BLOB)


async def test_a_blob_is_served_as_it_is(client: Client) -> None:
    answer = await client.get(PATH, headers={"Accept-Encoding": "zstd, gzip"})
    assert answer.status == 200
    assert await answer.read() == BLOB
    assert answer.headers.getall("Content-Type") == ["application/octet-stream"]
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert answer.headers["ETag"] == f'"{DIGEST}"'
    assert answer.headers["Cache-Control"] == "max-age=31536000, immutable"
    assert answer.headers["Cache-Status"] == "pullthrough; fwd=uri-miss; stored"
    assert {"Content-Encoding", "Transfer-Encoding", "Content-Range"}.isdisjoint(answer.headers)


async def test_head_has_the_headers_of_get_and_starts_no_transfer(client: Client, stack: Stack) -> None:
    head = await client.head(PATH)
    assert [request.split(" ")[0] for request in stack.upstream.requests] == ["HEAD"]
    got = await client.get(PATH)
    await got.read()
    own = {"Date", "X-Request-ID", "Cache-Status"}  # whether it was a hit differs between the two
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in got.headers.items() if k not in own
    }


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, SIZE),
        ("bytes=-500", SIZE - 500, SIZE),
        ("bytes=-99999999", 0, SIZE),
        (f"bytes=0-{SIZE}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
    ],
)
async def test_one_range_is_206(client: Client, wanted: str, start: int, stop: int) -> None:
    answer = await client.get(PATH, headers={"Range": wanted})
    assert answer.status == 206
    assert await answer.read() == BLOB[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("wanted", ["bytes=0-4,10-14", "lines=1-2", "bytes=x", "bytes 0-4"])
async def test_what_is_no_single_range_is_answered_whole(client: Client, wanted: str) -> None:
    answer = await client.get(PATH, headers={"Range": wanted})
    assert answer.status == 200
    assert await answer.read() == BLOB


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", "bytes=500-0"])
async def test_a_range_that_holds_no_byte_is_416_and_leaves_no_reader(
    client: Client, stack: Stack, wanted: str
) -> None:
    answer = await client.get(PATH, headers={"Range": wanted})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert (await answer.json())["errors"][0]["code"] == "RANGE_INVALID"
    assert stack.fills.opened == 1
    assert stack.fills.unread.is_set()


@pytest.mark.parametrize(("condition", "status"), [(f'"{DIGEST}"', 206), (f'W/"{DIGEST}"', 200), ('"x"', 200)])
async def test_if_range(client: Client, condition: str, status: int) -> None:
    answer = await client.get(PATH, headers={"Range": "bytes=5-", "If-Range": condition})
    assert answer.status == status
    assert await answer.read() == (BLOB[5:] if status == 206 else BLOB)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_it_gets_304_without_a_look_into_the_store(
    client: Client, stack: Stack, method: str
) -> None:
    answer = await client.request(method, PATH, headers={"If-None-Match": f'"{DIGEST}"'})
    assert answer.status == 304
    assert answer.headers["ETag"] == f'"{DIGEST}"'
    assert await answer.read() == b""
    assert stack.upstream.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_star_matches_what_exists_only(client: Client, method: str) -> None:
    missing = f"/v2/docker-hub/library/nginx/blobs/sha256:{'0' * 64}"
    assert (await client.request(method, PATH, headers={"If-None-Match": "*"})).status == 304
    assert (await client.request(method, missing, headers={"If-None-Match": "*"})).status == 404


async def test_an_empty_blob_is_served_even_to_clients_that_always_ask_for_ranges(client: Client, stack: Stack) -> None:
    digest = stack.upstream.hold_blob(b"")
    answer = await client.get(f"/v2/quay/a/blobs/{digest}", headers={"Range": "bytes=0-"})
    assert answer.status == 200
    assert answer.headers["Content-Length"] == "0"
    assert await answer.read() == b""


async def test_unknown_is_a_json_error(client: Client) -> None:
    answer = await client.get(f"/v2/docker-hub/library/nginx/blobs/sha256:{'0' * 64}")
    assert answer.status == 404
    assert (await answer.json())["errors"][0]["code"] == "BLOB_UNKNOWN"


async def test_parallel_ranges_of_a_growing_blob_are_answered_as_of_a_stored_one(client: Client, stack: Stack) -> None:
    """Replay containerd's parallel fetch: bytes=0- first, then open-ended chunks, each closed when it has its part."""
    stack.upstream.gate, stack.upstream.chunk, part = asyncio.Semaphore(1), 1024, 2048
    first = await client.get(PATH, headers={"Range": "bytes=0-"})
    assert first.status == 206
    rest = [await client.get(PATH, headers={"Range": f"bytes={at}-"}) for at in range(part, SIZE, part)]
    assert {answer.status for answer in rest} == {206}
    assert [answer.headers["Content-Range"] for answer in rest] == [
        f"bytes {at}-{SIZE - 1}/{SIZE}" for at in range(part, SIZE, part)
    ]
    for _ in range(SIZE // 1024):
        stack.upstream.gate.release()
    parts = [await answer.content.readexactly(part) for answer in (first, *rest)]
    for answer in (first, *rest):
        answer.close()
    assert b"".join(parts) == BLOB
    assert len([request for request in stack.upstream.requests if request.startswith("GET")]) == 1


@pytest.mark.parametrize(
    ("wanted", "whole"),
    [(None, True), ("bytes=0-", True), ("bytes=0-10", False), ("bytes=1-", False), ("bytes=-10", False)],
)
async def test_whole_pulls_are_told_and_parts_are_not(
    client: Client, stack: Stack, wanted: str | None, *, whole: bool
) -> None:
    # containerd begins each parallel pull with bytes=0-; lazy pullers read small parts.
    answer = await client.get(PATH, headers={"Range": wanted} if wanted is not None else {})
    await answer.read()
    assert stack.pulls.blobs == [("docker-hub/library/nginx", DIGEST)] * whole


async def test_head_and_failures_tell_no_pull(client: Client, stack: Stack) -> None:
    await client.head(PATH)
    await client.get(f"/v2/docker-hub/library/nginx/blobs/sha256:{'0' * 64}")
    assert stack.pulls.blobs == []


async def test_clients_that_leave_close_their_readers_and_the_fill_goes_on(client: Client, stack: Stack) -> None:
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    answer = await client.get(PATH)
    assert await answer.content.readexactly(1024) == BLOB[:1024]
    answer.close()
    await stack.fills.unread.wait()
    for _ in range(SIZE // 1024):
        stack.upstream.gate.release()
    later = await client.get(PATH)
    assert await later.read() == BLOB
    assert len([request for request in stack.upstream.requests if request.startswith("GET")]) == 1


async def test_wrong_bytes_end_short_of_the_content_length(client: Client, stack: Stack) -> None:
    stack.upstream.blobs[DIGEST] = BLOB[:-1] + b"!"
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    answer = await client.get(PATH)
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(SIZE)
    assert await answer.content.readexactly(1024) == BLOB[:1024]
    for _ in range(SIZE // 1024):
        stack.upstream.gate.release()
    with pytest.raises(ClientPayloadError, match="Not enough data to satisfy content length header"):
        await answer.content.readexactly(SIZE - 1024)


async def test_wrong_bytes_that_nobody_has_had_one_of_are_an_error(client: Client, stack: Stack) -> None:
    stack.upstream.blobs[DIGEST] = BLOB[:-1] + b"!"
    answer = await client.get(PATH)
    assert answer.status == 502
    assert (await answer.json())["errors"][0]["code"] == "UPSTREAM_INVALID"
