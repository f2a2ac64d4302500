"""Tags that are kept from moving, and methods that are kept apart: S13 and S14, named after their advisories.

S13: zot CVE-2026-31801, a check that ``latest`` was spared. S14: zot CVE-2026-61833, DELETE taken for a push.
"""

import asyncio

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.http.oci.endpoints import ENDPOINTS
from proxy.http.oci.paths import Kind
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.integration.scenarios.bench import Bench
from tests.integration.security.pusher import CONFIG, LAYER, NOBODY, Pusher, image, numbered

IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)
RAW, OTHER = numbered(1), numbered(2)
TAGS = ["latest", "LATEST", "Latest", "1.0", "main", "_", "sha256-abc", "a" * 128]


@pytest.fixture
async def kept(hub: Bench, app: Pusher) -> Pusher:
    """Who pushes to a repository whose tags stay, and whose blobs are there."""
    record = RepositoryRecord(RepositoryName(app.name), 0.0, IMMUTABLE)
    assert await hub.product.stores.metadata.create_repository(record)
    for blob in (CONFIG, LAYER):
        await app.blob(blob)
    return app


@pytest.mark.parametrize("tag", TAGS)
async def test_s13_no_tag_is_special(kept: Pusher, tag: str) -> None:
    assert (await kept.manifest(RAW, tag)).status == 201
    for _ in range(2):
        refused = await kept.manifest(OTHER, tag)
        assert (refused.status, refused.code) == (400, "TAG_INVALID")
        assert refused.message == (
            f"The image tag '{tag}' already exists in the 'team/app' repository and cannot be overwritten because the "
            "tag is immutable."
        )
    assert (await kept.get("manifests", tag)).body == RAW


async def test_s13_tags_that_differ_in_case_are_different_tags(kept: Pusher) -> None:
    for tag, raw in (("latest", RAW), ("LATEST", OTHER), ("Latest", numbered(3))):
        assert (await kept.manifest(raw, tag)).status == 201
        assert (await kept.get("manifests", tag)).body == raw
    for tag in ("latest", "LATEST", "Latest"):
        assert (await kept.manifest(numbered(4), tag)).status == 400


@pytest.mark.parametrize("reference", ["latest", "{digest}?tag=latest"])
async def test_s13_of_concurrent_pushes_exactly_one_wins(kept: Pusher, reference: str) -> None:
    raws = [numbered(number) for number in range(12)]
    pushes = (kept.manifest(raw, reference.format(digest=Digest.of(raw))) for raw in raws)
    answered = await asyncio.gather(*pushes)
    won = [raw for raw, answer in zip(raws, answered, strict=True) if answer.status == 201]
    assert len(won) == 1
    assert {answer.status for answer in answered} == {201, 400}
    assert (await kept.get("manifests", "latest")).body == won[0]


async def test_s13_the_same_content_may_be_pushed_again(kept: Pusher) -> None:
    answered = await asyncio.gather(*(kept.manifest(RAW, "latest") for _ in range(5)))
    assert {answer.status for answer in answered} == {201}


async def test_s13_pushes_by_digest_are_free(kept: Pusher) -> None:
    await kept.manifest(RAW, "latest")
    for raw in (RAW, OTHER, RAW):
        assert (await kept.manifest(raw, Digest.of(raw))).status == 201
    assert (await kept.get("manifests", "latest")).body == RAW


async def test_s13_several_tags_are_all_set_or_none(kept: Pusher) -> None:
    await kept.manifest(RAW, "latest")
    refused = await kept.manifest(OTHER, f"{Digest.of(OTHER)}?tag=new&tag=latest&tag=newer")
    assert (refused.status, refused.code) == (400, "TAG_INVALID")
    assert (await kept.ask("tags/list")).json["tags"] == ["latest"]
    assert (await kept.get("manifests", Digest.of(OTHER))).status == 404


async def test_s13_tags_stay_whatever_the_order_of_repositories(kept: Pusher, other: Pusher) -> None:
    await kept.manifest(RAW, "latest")
    await other.image(RAW, "latest")
    await other.image(OTHER, "latest")
    assert (await kept.get("manifests", "latest")).body == RAW
    assert (await kept.manifest(OTHER, "latest")).status == 400


ALLOWED = {
    Kind.PING: ({"GET", "HEAD"}, "/v2/"),
    Kind.CATALOG: ({"GET", "HEAD"}, "/v2/_catalog"),
    Kind.MANIFEST: ({"GET", "HEAD", "PUT", "DELETE"}, "/v2/team/app/manifests/latest"),
    Kind.BLOB: ({"GET", "HEAD", "DELETE"}, f"/v2/team/app/blobs/{Digest.of(LAYER)}"),
    Kind.TAGS: ({"GET", "HEAD"}, "/v2/team/app/tags/list"),
    Kind.REFERRERS: ({"GET", "HEAD"}, f"/v2/team/app/referrers/{Digest.of(LAYER)}"),
    Kind.UPLOADS: ({"POST"}, "/v2/team/app/blobs/uploads/"),
    Kind.UPLOAD: ({"GET", "HEAD", "PATCH", "PUT", "DELETE"}, f"/v2/team/app/blobs/uploads/{NOBODY}"),
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "COPY", "MOVE", "LOCK", "PROPFIND"]


def test_s14_the_table_of_methods_is_complete() -> None:
    # The token endpoint is there only where callers are asked who they are, and knows nothing of tags.
    answered = {kind: set(endpoint.methods) for kind, endpoint in ENDPOINTS.items() if kind is not Kind.TOKEN}
    assert answered == {kind: methods for kind, (methods, _) in ALLOWED.items()}


@pytest.mark.parametrize("kind", list(ALLOWED))
async def test_s14_every_other_method_is_405_and_changes_nothing(
    hub: Bench, app: Pusher, kind: Kind, subtests: pytest.Subtests
) -> None:
    await app.image(RAW, "latest")
    allowed, path = ALLOWED[kind]
    for method in METHODS:
        if method in allowed:
            continue
        with subtests.test(method=method):
            answered = await hub.registry.ask(path, method=method, content=OTHER)
            assert answered.status == 405
            assert set(answered.headers["Allow"].split(", ")) == allowed
    assert (await app.get("manifests", "latest")).body == RAW
    assert (await app.get("blobs", Digest.of(LAYER))).body == LAYER


@pytest.mark.parametrize("field", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_s14_no_header_changes_the_method(app: Pusher, field: str) -> None:
    await app.image(RAW, "latest")
    for path in ("manifests/latest", f"manifests/{Digest.of(RAW)}", f"blobs/{Digest.of(LAYER)}"):
        for method in ("GET", "HEAD"):
            assert (await app.ask(path, (field, "DELETE"), method=method)).status == 200
    assert (await app.ask("blobs/uploads/", (field, "DELETE"), method="POST")).status == 202
    assert (await app.get("manifests", "latest")).body == RAW


async def test_s14_who_may_delete_frees_the_tag(kept: Pusher) -> None:
    await kept.manifest(RAW, "latest")
    assert (await kept.manifest(OTHER, "latest")).status == 400
    assert (await kept.delete("manifests", "latest")).status == 202
    assert (await kept.manifest(OTHER, "latest")).status == 201
    assert (await kept.manifest(RAW, "latest")).status == 400
    assert (await kept.delete("manifests", Digest.of(OTHER))).status == 202
    assert (await kept.manifest(RAW, "latest")).status == 201


async def test_s14_nothing_but_delete_frees_the_tag(kept: Pusher) -> None:
    await kept.manifest(RAW, "latest")
    # Other bytes of the same image, the image under another algorithm, and the image once more change nothing.
    again = [
        await kept.manifest(RAW + b"\n", "latest"),
        await kept.manifest(RAW, f"{Digest.of(RAW, 'sha512')}?tag=latest"),
        await kept.manifest(image(), "latest"),
    ]
    assert [(answer.status, answer.code) for answer in again] == [(400, "TAG_INVALID")] * 3
    assert (await kept.delete("blobs", Digest.of(LAYER))).status == 202
    await kept.blob(LAYER)
    assert (await kept.manifest(OTHER, "latest")).status == 400
    assert (await kept.get("manifests", "latest")).body == RAW
