"""What clients push and name, read two ways: S9 and S10, named after the advisories that taught them.

S9: CVE-2021-41190, the same bytes under two types. S10: CVE-2024-3727, digests and tags that are paths.
"""

import asyncio
import json

import pytest

from proxy.model.digest import Digest
from proxy.model.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.integration.scenarios.bench import Bench
from tests.integration.security.pusher import CONFIG, LAYER, NOBODY, Pusher, image

BLOB = {"mediaType": "application/octet-stream", "digest": str(Digest.of(CONFIG)), "size": len(CONFIG)}
TYPELESS = {"schemaVersion": 2, "config": BLOB, "layers": []}
AMBIGUOUS = {
    "an image with manifests": (TYPELESS | {"manifests": []}, OCI_MANIFEST),
    "an index with layers": ({"schemaVersion": 2, "manifests": [], "layers": []}, OCI_INDEX),
    "an index with a config": ({"schemaVersion": 2, "manifests": [], "config": BLOB}, OCI_INDEX),
    "a list with layers": ({"schemaVersion": 2, "manifests": [], "layers": []}, DOCKER_LIST),
    "a Docker image with manifests": (TYPELESS | {"manifests": []}, DOCKER_MANIFEST),
    "manifests in other letters": (TYPELESS | {"Manifests": []}, OCI_MANIFEST),
    "an image that calls itself an index": (TYPELESS | {"mediaType": OCI_INDEX}, OCI_MANIFEST),
    "an index that calls itself an image": (
        {"schemaVersion": 2, "manifests": [], "mediaType": OCI_MANIFEST},
        OCI_INDEX,
    ),
    "an image pushed as an index": (TYPELESS, OCI_INDEX),
    "an index pushed as an image": ({"schemaVersion": 2, "manifests": []}, OCI_MANIFEST),
    "schema version 1": (TYPELESS | {"schemaVersion": 1, "fsLayers": []}, OCI_MANIFEST),
    "a type of schema 1": (
        {"schemaVersion": 1, "fsLayers": []},
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ),
}


@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
async def test_s9_a_document_that_can_be_read_two_ways_is_refused(app: Pusher, name: str) -> None:
    document, media_type = AMBIGUOUS[name]
    await app.blob(CONFIG)
    refused = await app.manifest(json.dumps(document).encode(), "latest", media_type)
    assert (refused.status, refused.code) == (400, "MANIFEST_INVALID")
    assert (await app.get("manifests", "latest")).status == 404


async def test_s9_a_key_that_comes_twice_is_refused(app: Pusher) -> None:
    await app.blob(CONFIG)
    twice = json.dumps(TYPELESS)[:-1].encode() + b', "layers": []}'
    refused = await app.manifest(twice, "latest")
    assert (refused.status, refused.code) == (400, "MANIFEST_INVALID")


async def test_s9_two_types_in_one_request_are_refused(app: Pusher, hub: Bench) -> None:
    raw = json.dumps(TYPELESS).encode()
    reader, writer = await asyncio.open_connection(*hub.product.server.address)
    writer.write(
        b"PUT /v2/team/app/manifests/latest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + f"Content-Type: {OCI_MANIFEST}\r\nContent-Type: {OCI_INDEX}\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
        + raw
    )
    assert (await reader.read()).split()[1] == b"400"
    writer.close()
    assert (await app.get("manifests", "latest")).status == 404


@pytest.mark.parametrize("accept", [OCI_INDEX, DOCKER_LIST, DOCKER_MANIFEST, "*/*", "text/html", ""])
async def test_s9_the_type_is_the_one_that_was_pushed_whatever_a_client_accepts(app: Pusher, accept: str) -> None:
    raw = image()
    await app.image(raw, "latest")
    for reference in ("latest", Digest.of(raw)):
        got = await app.ask(f"manifests/{reference}", ("Accept", accept))
        assert (got.status, got.body) == (200, raw)
        assert got.headers.getall("Content-Type") == [OCI_MANIFEST]


async def test_s9_one_repository_does_not_choose_the_type_for_another(app: Pusher, other: Pusher) -> None:
    # Nothing in these bytes says which type of list they are.
    raw = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    assert (await app.manifest(raw, "latest", OCI_INDEX)).status == 201
    assert (await other.manifest(raw, "latest", DOCKER_LIST)).status == 201
    assert (await app.get("manifests", "latest")).headers["Content-Type"] == OCI_INDEX
    assert (await app.get("manifests", Digest.of(raw))).headers["Content-Type"] == OCI_INDEX
    assert (await other.get("manifests", "latest")).headers["Content-Type"] == DOCKER_LIST


PATHS = (
    "sha256:../../x",
    "sha256:..%2F..%2Fx",
    "sha256:%2e%2e%2fx",
    "sha256:%252e%252e",
    "sha256:" + "a" * 10_000,
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63 + "%00",
    "sha256:" + "a" * 64 + "%0a",
    "../../etc/passwd:" + "a" * 64,
    "md5:" + "a" * 32,
    "SHA256:" + "a" * 64,
    "sha256",
    ":",
)
TAGS = ("..", "%2e%2e", "..%2f..%2fx", ".hidden", "a%2fb", "a%00", "a" * 129, "a%0d%0aX: y", "\u043b")
UPLOADS = (
    "..",
    "%2e%2e",
    "..%2F..%2Fx",
    "%2fetc%2fpasswd",
    NOBODY,
    "x" * 1000,
    "\u0661" * 36,
)


async def ask_raw(bench: Bench, method: str, path: str, content: bytes = b"") -> int:
    """Send a path exactly as it is, and return the status of the answer."""
    reader, writer = await asyncio.open_connection(*bench.product.server.address)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def kept(bench: Bench) -> list[Digest]:
    return [digest async for digest, _ in bench.product.stores.blobs.scan()]


async def test_s10_a_digest_is_a_digest_wherever_it_stands(hub: Bench, subtests: pytest.Subtests) -> None:
    upload = (await Pusher(hub.registry, "team/app").begin()).headers["Location"]
    places = [
        ("DELETE", "/v2/team/app/blobs/{}"),
        ("DELETE", "/v2/team/app/manifests/{}"),
        ("GET", "/v2/team/app/blobs/{}"),
        ("GET", "/v2/team/app/referrers/{}"),
        ("PUT", "/v2/team/app/manifests/{}"),
        ("POST", "/v2/team/app/blobs/uploads/?digest={}"),
        ("POST", "/v2/team/app/blobs/uploads/?mount={}"),
        ("POST", "/v2/team/app/blobs/uploads/?digest-algorithm={}"),
        ("PUT", f"{upload}?digest={{}}"),
    ]
    for method, place in places:
        for path in PATHS:
            if (method, path) == ("PUT", "sha256") and "manifests" in place:
                continue  # as a reference that is a tag
            if path == "sha256" and ("manifests" in place or "algorithm" in place):
                continue  # as a tag, and as an algorithm, it is right
            with subtests.test(method=method, place=place, digest=path[:60]):
                assert await ask_raw(hub, method, place.format(path), b"x") in {400, 404}
    assert await kept(hub) == []
    assert hub.emulator.journal.lines == []
    assert (await hub.registry.ask(upload)).status == 204


async def test_s10_a_tag_is_a_tag_wherever_it_stands(hub: Bench, app: Pusher, subtests: pytest.Subtests) -> None:
    raw = image()
    await app.image(raw, "right")
    before = await kept(hub)
    other = image(annotations={"a": "b"})
    for tag in TAGS:
        with subtests.test(tag=tag):
            assert await ask_raw(hub, "PUT", f"/v2/team/app/manifests/{tag}", other) in {400, 404}
            assert await ask_raw(hub, "DELETE", f"/v2/team/app/manifests/{tag}") in {400, 404}
            target = f"/v2/team/app/manifests/{Digest.of(other)}?tag=fine&tag={tag}"
            assert await ask_raw(hub, "PUT", target, other) == 400
    assert await kept(hub) == before
    assert (await app.ask("tags/list")).json["tags"] == ["right"]


async def test_s10_an_upload_is_found_by_its_id_and_nothing_else(
    hub: Bench, app: Pusher, subtests: pytest.Subtests
) -> None:
    begun = (await app.begin()).headers["Docker-Upload-UUID"]
    spelled = (f"%7B{begun}%7D", begun.replace("-", ""), f"urn:uuid:{begun}", f"{begun}%00", f"./{begun}", f"{begun}/")
    for upload in (*UPLOADS, *spelled):
        for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
            with subtests.test(upload=upload[:40], method=method):
                query = f"?digest={Digest.of(LAYER)}" if method == "PUT" else ""
                path = f"/v2/team/app/blobs/uploads/{upload}{query}"
                assert await ask_raw(hub, method, path, LAYER) in {400, 404}
    assert await kept(hub) == []
    assert (await app.get("blobs/uploads", begun)).headers["Range"] == "0-0"


@pytest.mark.parametrize("source", ["../../etc", "..%2f..%2fetc", "a%00b", "A/B", "x" * 300, "http://evil.test/x"])
async def test_s10_a_source_that_is_no_repository_leads_nowhere(hub: Bench, app: Pusher, source: str) -> None:
    answered = await app.begin(f"?mount={Digest.of(LAYER)}&from={source}")
    assert answered.status == 202
    assert hub.emulator.journal.lines == []
