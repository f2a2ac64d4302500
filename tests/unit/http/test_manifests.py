"""Manifests over HTTP: exact bytes, exact headers."""

from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import DOCKER_LIST, OCI_MANIFEST
from tests.unit.http.conftest import Client, Stack

CONFIG = Digest.of(b"{}")
# Spaces and line breaks as an upstream may send them: they are part of what the digest names.
RAW = f"""{{
   "schemaVersion": 2,
   "mediaType": "{OCI_MANIFEST}",
   "config": {{"mediaType": "application/json", "digest": "{CONFIG}", "size": 2}},
   "layers": []
}}
""".encode()
DIGEST = Digest.of(RAW)
NGINX = "/v2/docker-hub/library/nginx/manifests"


@pytest.fixture(autouse=True)
def image(stack: Stack) -> None:
    stack.upstream.hold("library/nginx", RAW, OCI_MANIFEST, "latest")


@pytest.mark.parametrize(
    ("reference", "digest", "lifetime"),
    [
        ("latest", DIGEST, "no-cache"),
        (str(DIGEST), DIGEST, "max-age=31536000, immutable"),
        (f"sha256%3A{DIGEST.encoded}", DIGEST, "max-age=31536000, immutable"),
        (str(Digest.of(RAW, "sha512")), Digest.of(RAW, "sha512"), "max-age=31536000, immutable"),
    ],
)
async def test_a_manifest_is_served_as_it_is(client: Client, reference: str, digest: Digest, lifetime: str) -> None:
    answer = await client.get(f"{NGINX}/{reference}")
    assert answer.status == 200
    assert await answer.read() == RAW
    assert answer.headers.getall("Content-Type") == [OCI_MANIFEST]
    assert answer.headers["Content-Length"] == str(len(RAW))
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert answer.headers["ETag"] == f'"{digest}"'
    assert answer.headers["Cache-Control"] == lifetime
    assert answer.headers["Cache-Status"] == "pullthrough; fwd=uri-miss; stored"
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert {"Content-Encoding", "Transfer-Encoding", "Warning", "OCI-Namespace"}.isdisjoint(answer.headers)


async def test_a_get_tells_a_pull_and_a_head_does_not(client: Client, stack: Stack) -> None:
    await client.head("/v2/docker-hub/library/nginx/manifests/latest")
    assert stack.pulls.manifests == []
    await client.get("/v2/docker-hub/library/nginx/manifests/latest")
    assert stack.pulls.manifests == [("docker-hub/library/nginx", DIGEST)]


@pytest.mark.parametrize("reference", ["latest", str(DIGEST), "missing"])
async def test_head_has_the_headers_of_get(client: Client, reference: str) -> None:
    await client.get(f"{NGINX}/{reference}")
    got, head = await client.get(f"{NGINX}/{reference}"), await client.head(f"{NGINX}/{reference}")
    assert head.status == got.status
    assert comparable(head.headers) == comparable(got.headers)
    assert await head.read() == b""


def comparable(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in {"Date", "X-Request-ID"}}


async def test_head_of_a_tag_that_is_not_kept_has_length_type_and_digest(client: Client, stack: Stack) -> None:
    answer = await client.head(f"{NGINX}/latest")
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(len(RAW))
    assert answer.headers["Content-Type"] == OCI_MANIFEST
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert [request.split(" ")[0] for request in stack.upstream.requests] == ["HEAD"]


async def test_the_second_answer_is_a_hit(client: Client) -> None:
    await client.get(f"{NGINX}/latest")
    answer = await client.get(f"{NGINX}/latest")
    assert answer.headers["Cache-Status"] == "pullthrough; hit"


async def test_a_stale_copy_carries_a_warning(client: Client, stack: Stack) -> None:
    await client.get(f"{NGINX}/latest")
    stack.clock.advance(3600)
    stack.upstream.failure = UpstreamError(UpstreamFailure.SERVER_ERROR, "registry-1.docker.io answered 500")
    answer = await client.get(f"{NGINX}/latest")
    assert answer.status == 200
    assert await answer.read() == RAW
    assert answer.headers["Cache-Status"] == "pullthrough; hit; detail=stale-server_error"
    assert answer.headers["Warning"].startswith('299 - "')


async def test_the_type_has_no_parameters(client: Client, stack: Stack) -> None:
    index = b'{"schemaVersion":2,"manifests":[]}'
    stack.upstream.hold("library/list", index, f"{DOCKER_LIST}; charset=utf-8", "latest")
    answer = await client.get("/v2/docker-hub/library/list/manifests/latest")
    assert answer.headers.getall("Content-Type") == [DOCKER_LIST]


async def test_several_accept_lines_change_nothing(client: Client) -> None:
    lines = [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    ]
    answer = await client.get(f"{NGINX}/latest", headers=CIMultiDict([("Accept", line) for line in lines]))
    assert await answer.read() == RAW
    assert answer.content_type == OCI_MANIFEST


async def test_nothing_is_ever_compressed(client: Client) -> None:
    answer = await client.get(f"{NGINX}/latest", headers={"Accept-Encoding": "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"})
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Content-Length"] == str(len(RAW))


@pytest.mark.parametrize("condition", [f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_it_gets_304(client: Client, method: str, condition: str) -> None:
    answer = await client.request(method, f"{NGINX}/latest", headers={"If-None-Match": condition})
    assert answer.status == 304
    assert await answer.read() == b""
    assert answer.headers["ETag"] == f'"{DIGEST}"'
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "Content-Length" not in answer.headers
    assert "Content-Type" not in answer.headers


async def test_a_client_that_has_another_gets_it(client: Client) -> None:
    answer = await client.get(f"{NGINX}/latest", headers={"If-None-Match": '"sha256:other"'})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-", 0, len(RAW)), ("bytes=5-9", 5, 10), ("bytes=-4", len(RAW) - 4, len(RAW))],
)
async def test_ranges(client: Client, wanted: str, start: int, stop: int) -> None:
    answer = await client.get(f"{NGINX}/{DIGEST}", headers={"Range": wanted})
    assert answer.status == 206
    assert await answer.read() == RAW[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(RAW)}"
    assert answer.headers["Content-Type"] == OCI_MANIFEST


async def test_a_range_past_the_end_is_416(client: Client) -> None:
    answer = await client.get(f"{NGINX}/{DIGEST}", headers={"Range": "bytes=100000-"})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(RAW)}"
    assert (await answer.json())["errors"][0]["code"] == "RANGE_INVALID"


async def test_unknown_is_a_json_error(client: Client) -> None:
    answer = await client.get(f"{NGINX}/missing")
    assert answer.status == 404
    assert answer.headers.getall("Content-Type") == ["application/json"]
    [error] = (await answer.json())["errors"]
    assert error["code"] in {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}
    assert set(error) == {"code", "message", "detail"}


@pytest.mark.parametrize(
    ("path", "namespace"),
    [
        ("/v2/library/nginx/manifests/latest?ns=docker.io", "docker.io"),
        ("/v2/nginx/manifests/latest?ns=docker.io", "docker.io"),
        ("/v2/library/nginx/manifests/latest?ns=registry-1.docker.io", "registry-1.docker.io"),
        ("/v2/docker-hub/library/nginx/manifests/latest?ns=docker.io", "docker.io"),
        ("/docker-hub/v2/library/nginx/manifests/latest?ns=docker.io", "docker.io"),
        ("/docker-hub/v2/library/nginx/manifests/latest", None),
        ("/docker-hub/v2/nginx/manifests/latest", None),
        ("/v2/docker-hub/nginx/manifests/latest", None),
    ],
)
async def test_every_layout_reaches_one_image(client: Client, path: str, namespace: str | None) -> None:
    answer = await client.get(path)
    assert await answer.read() == RAW
    assert answer.headers.get("OCI-Namespace") == namespace


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("ns=ghcr.io", 404),
        ("ns=", 400),
        ("ns=docker.io&ns=quay.io", 400),
        ("ns=docker.io/library", 400),
        ("ns=http://docker.io", 400),
        ("ns=user@docker.io", 400),
        ("ns=169.254.169.254", 404),
        ("ns=%2e%2e", 400),
        ("ns=docker.io%00", 400),
        ("ns=doc%D1%96er.io", 400),
        (f"ns={'a.' * 200}io", 400),
    ],
)
async def test_a_namespace_chooses_among_rules_and_opens_no_host(
    client: Client, stack: Stack, query: str, status: int
) -> None:
    answer = await client.get(f"/v2/library/nginx/manifests/latest?{query}")
    assert answer.status == status
    assert (await answer.json())["errors"]
    assert stack.upstream.requests == []
