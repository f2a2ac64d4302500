"""What is refused, and how: status, code and document (distribution-spec, "Error Codes")."""

import json
from itertools import product

import pytest

from proxy.model.media_types import OCI_MANIFEST
from tests.conformance.conftest import REPOSITORY
from tests.conformance.data_sets import image
from tests.conformance.pushing import push, put_manifest
from tests.conformance.registry import OCTETS, Answer, Registry, digest_of

AS_IMAGE = {"Content-Type": OCI_MANIFEST}
ABSENT = digest_of(b"absent")
NOWHERE = "conformance/nowhere"
MALFORMED = ["sha256:baddigeststring", "sha256:totallywrong", f"md5:{'0' * 32}", f"sha256:{'A' * 64}", ":"]


@pytest.fixture(autouse=True)
async def _repository(registry: Registry) -> None:
    await push(registry, REPOSITORY, image())


each_method = pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])


@each_method
async def test_a_manifest_that_is_not_there(registry: Registry, method: str) -> None:
    references = [ABSENT, digest_of(b"absent", "sha512"), "missing-tag", ".INVALID_NAME", "a" * 129]
    for repository, reference in product([REPOSITORY, NOWHERE], references):
        answer = await registry.ask(method, f"/v2/{repository}/manifests/{reference}")
        expect_absent(answer, method, "MANIFEST_UNKNOWN", "NAME_UNKNOWN")


@each_method
async def test_a_blob_that_is_not_there(registry: Registry, method: str) -> None:
    for repository, algorithm in product([REPOSITORY, NOWHERE], ["sha256", "sha512"]):
        answer = await registry.ask(method, f"/v2/{repository}/blobs/{digest_of(b'absent', algorithm)}")
        expect_absent(answer, method, "BLOB_UNKNOWN", "NAME_UNKNOWN")


def expect_absent(answer: Answer, method: str, *codes: str) -> None:
    if method == "HEAD":
        assert (answer.status, answer.body) == (404, b""), answer.asked
    else:
        answer.expect_error(404, *codes)


@pytest.mark.parametrize("kind", ["manifests", "blobs", "referrers"])
async def test_a_digest_that_is_none_names_nothing(registry: Registry, kind: str) -> None:
    for digest in MALFORMED:
        (await registry.get(f"/v2/{REPOSITORY}/{kind}/{digest}")).expect_error(400, "DIGEST_INVALID")


@pytest.mark.parametrize("body", [next(iter(image().manifests.values())), b"nonsense"], ids=["manifest", "nonsense"])
async def test_nothing_is_pushed_to_a_digest_that_is_none(registry: Registry, body: bytes) -> None:
    for digest in MALFORMED:
        answer = await registry.ask("PUT", f"/v2/{REPOSITORY}/manifests/{digest}", body, headers=AS_IMAGE)
        answer.expect_error(400, "DIGEST_INVALID")


@pytest.mark.parametrize("reference", ["tag", digest_of(b"nonsense")])
async def test_nonsense_is_no_manifest(registry: Registry, reference: str) -> None:
    answer = await registry.ask("PUT", f"/v2/{REPOSITORY}/manifests/{reference}", b"nonsense", headers=AS_IMAGE)
    answer.expect_error(400, "MANIFEST_INVALID")


async def test_json_that_is_no_manifest(registry: Registry) -> None:
    documents: tuple[object, ...] = ({}, {"schemaVersion": 2}, [], {"schemaVersion": 1, "config": {}, "layers": []})
    for document in documents:
        body = json.dumps(document).encode()
        answer = await registry.ask("PUT", f"/v2/{REPOSITORY}/manifests/tag", body, headers=AS_IMAGE)
        answer.expect_error(400, "MANIFEST_INVALID")


async def test_a_tag_that_is_none_is_not_pushed(registry: Registry) -> None:
    manifest = next(iter(image().manifests.values()))
    for tag in (".hidden", "-x", "a" * 129):
        answer = (await put_manifest(registry, REPOSITORY, tag, manifest)).expect(400, 404)
        assert answer.json["errors"]


async def test_a_name_that_is_none(registry: Registry) -> None:
    for name in ("Upper/case", "a//b", "under__score_/x", "-x", "a" * 256):
        for answer in (
            await registry.get(f"/v2/{name}/tags/list"),
            await registry.ask("POST", f"/v2/{name}/blobs/uploads/"),
        ):
            assert answer.expect(400, 404).json["errors"]


async def test_an_upload_that_never_began(registry: Registry) -> None:
    uploads = ("00000000-0000-4000-8000-000000000000", "nonsense", "0")
    for upload, method in product(uploads, ("GET", "PATCH", "PUT", "DELETE")):
        target = f"/v2/{REPOSITORY}/blobs/uploads/{upload}"
        body = b"bytes" if method in {"PATCH", "PUT"} else None
        query = [("digest", digest_of(b"bytes"))] if method == "PUT" else ()
        answer = await registry.ask(method, target, body, query=query, headers=OCTETS)
        answer.expect_error(404, "BLOB_UPLOAD_UNKNOWN")


async def test_a_method_that_an_endpoint_does_not_have(registry: Registry) -> None:
    for method, path in (
        ("POST", "manifests/tag"),
        ("PATCH", "manifests/tag"),
        ("PUT", f"blobs/{ABSENT}"),
        ("POST", f"blobs/{ABSENT}"),
        ("DELETE", "tags/list"),
        ("PUT", f"referrers/{ABSENT}"),
        ("GET", "blobs/uploads/"),
    ):
        answer = await registry.ask(method, f"/v2/{REPOSITORY}/{path}")
        assert method not in answer.expect_error(405, "UNSUPPORTED").headers["Allow"].split(", ")
