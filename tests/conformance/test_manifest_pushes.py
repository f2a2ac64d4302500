"""Manifests that are refused, tags that come beside a digest, and how long a manifest may be (end-7)."""

import json

import pytest

from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from tests.conformance.conftest import REPOSITORY
from tests.conformance.data_sets import DataSet, image, index, sparse_index
from tests.conformance.pushing import expect_pushed, push, push_blobs, put_manifest
from tests.conformance.reading import expect_manifest, tags
from tests.conformance.registry import Registry, digest_of

MIB = 1 << 20


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("sized", [True, False])
async def test_a_manifest_that_does_not_have_the_digest_is_refused(
    registry: Registry, algorithm: str, *, sized: bool
) -> None:
    data = DataSet(algorithm)
    digest = data.image()["digest"]
    await push_blobs(registry, REPOSITORY, data.each_blob())
    other = data.manifests[digest] + b"  "
    answer = await put_manifest(registry, REPOSITORY, digest, other, sized=sized)
    answer.expect_error(400, "DIGEST_INVALID")
    for unknown in (digest, digest_of(other, algorithm)):
        (await registry.get(f"/v2/{REPOSITORY}/manifests/{unknown}")).expect_error(404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("sized", [True, False])
async def test_the_digest_of_a_tag_is_the_canonical_one(registry: Registry, *, sized: bool) -> None:
    data = DataSet("sha512")
    manifest = data.manifests[data.image()["digest"]]
    await push_blobs(registry, REPOSITORY, data.each_blob())
    answer = await put_manifest(registry, REPOSITORY, "tag", manifest, sized=sized)
    await expect_pushed(registry, answer, manifest, digest_of(manifest))
    await expect_manifest(registry, REPOSITORY, "tag", manifest)


async def test_the_same_bytes_are_held_under_digests_of_both_algorithms(registry: Registry) -> None:
    data = image()
    manifest = data.manifests[data.tags["image"]]
    await push(registry, REPOSITORY, data)
    long = digest_of(manifest, "sha512")
    await expect_pushed(registry, await put_manifest(registry, REPOSITORY, long, manifest), manifest, long)
    for digest in (long, digest_of(manifest)):
        await expect_manifest(registry, REPOSITORY, digest, manifest)


async def test_parameters_of_the_content_type_are_dropped(registry: Registry) -> None:
    data = image()
    await push_blobs(registry, REPOSITORY, data.each_blob())
    manifest = data.manifests[data.tags["image"]]
    headers = {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"}
    answer = await registry.ask("PUT", f"/v2/{REPOSITORY}/manifests/tag", manifest, headers=headers)
    await expect_pushed(registry, answer, manifest, digest_of(manifest))
    await expect_manifest(registry, REPOSITORY, "tag", manifest)


async def test_a_manifest_that_names_no_media_type_has_that_of_its_push(registry: Registry) -> None:
    data = DataSet()
    document = json.loads(data.manifests[data.image()["digest"]])
    del document["mediaType"]
    document["config"]["newField"] = None  # kept as it is, like all that this registry does not know
    manifest = json.dumps(document, indent="\t").encode()
    await push_blobs(registry, REPOSITORY, data.each_blob())
    answer = await put_manifest(registry, REPOSITORY, "tag", manifest)
    await expect_pushed(registry, answer, manifest, digest_of(manifest))
    await expect_manifest(registry, REPOSITORY, "tag", manifest)


async def test_a_tag_moves_to_the_manifest_pushed_last(registry: Registry) -> None:
    data = DataSet()
    first = data.manifests[data.image()["digest"]]
    second = data.manifests[data.image()["digest"]]
    await push_blobs(registry, REPOSITORY, data.each_blob())
    for manifest in (first, second):
        (await put_manifest(registry, REPOSITORY, "moving", manifest)).expect(201)
        await expect_manifest(registry, REPOSITORY, "moving", manifest)
    await expect_manifest(registry, REPOSITORY, digest_of(first), first)
    assert await tags(registry, REPOSITORY) == ["moving"]


class TestTagParameters:
    async def test_ten_tags_come_beside_a_digest(self, registry: Registry) -> None:
        data = image()
        await push_blobs(registry, REPOSITORY, data.each_blob())
        digest, manifest = next(iter(data.manifests.items()))
        named = [f"tag-{number}" for number in range(10)]
        answer = await put_manifest(registry, REPOSITORY, digest, manifest, named)
        await expect_pushed(registry, answer, manifest, digest)
        told = [name.strip() for line in answer.headers.getall("OCI-Tag") for name in line.split(",")]
        assert sorted(told) == named
        assert await tags(registry, REPOSITORY) == named
        for tag in named:
            await expect_manifest(registry, REPOSITORY, tag, manifest)

    async def test_one_wrong_tag_means_no_push(self, registry: Registry) -> None:
        data = image()
        await push_blobs(registry, REPOSITORY, data.each_blob())
        digest, manifest = next(iter(data.manifests.items()))
        answer = await put_manifest(registry, REPOSITORY, digest, manifest, ["good", "not/good"])
        answer.expect(400)
        (await registry.get(f"/v2/{REPOSITORY}/manifests/{digest}")).expect_error(404, "MANIFEST_UNKNOWN")
        assert "good" not in await tags(registry, REPOSITORY)


class TestMissingContent:
    async def test_a_manifest_waits_for_its_blobs(self, registry: Registry) -> None:
        data = image()
        digest, manifest = next(iter(data.manifests.items()))
        present, *missing = data.each_blob()
        await push_blobs(registry, REPOSITORY, [present])
        refused = await put_manifest(registry, REPOSITORY, digest, manifest)
        detail = json.dumps(refused.expect_error(404, "MANIFEST_BLOB_UNKNOWN").json["errors"][0]["detail"])
        assert [blob.digest in detail for blob in (present, *missing)] == [False, *(True for _ in missing)]
        (await registry.get(f"/v2/{REPOSITORY}/manifests/{digest}")).expect_error(404, "MANIFEST_UNKNOWN")
        await push_blobs(registry, REPOSITORY, missing)
        await expect_pushed(registry, await put_manifest(registry, REPOSITORY, digest, manifest), manifest, digest)

    async def test_an_index_waits_for_its_images(self, registry: Registry) -> None:
        data = index()
        await push_blobs(registry, REPOSITORY, data.each_blob())
        *children, (top, document) = data.manifests.items()
        refused = await put_manifest(registry, REPOSITORY, top, document)
        detail = json.dumps(refused.expect_error(404, "MANIFEST_BLOB_UNKNOWN").json["errors"][0]["detail"])
        assert all(digest in detail for digest, _ in children)
        for digest, child in children:
            (await put_manifest(registry, REPOSITORY, digest, child)).expect(201)
        await expect_pushed(registry, await put_manifest(registry, REPOSITORY, top, document), document, top)

    async def test_a_sparse_index_is_refused_unless_it_is_permitted(self, registry: Registry) -> None:
        data = sparse_index()
        await push_blobs(registry, REPOSITORY, data.each_blob())
        (child, image_manifest), (top, document) = data.manifests.items()
        (await put_manifest(registry, REPOSITORY, child, image_manifest)).expect(201)
        refused = await put_manifest(registry, REPOSITORY, top, document)
        refused.expect_error(404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("sized", [True, False])
class TestSize:
    async def test_4_mib_are_taken(self, registry: Registry, *, sized: bool) -> None:
        data = DataSet()
        data.index([], annotations={"org.example.filling": "A" * (4 * MIB - 200)})
        digest, manifest = next(iter(data.manifests.items()))
        assert 4 * MIB - 100 < len(manifest) <= 4 * MIB
        answer = await put_manifest(registry, REPOSITORY, "large", manifest, sized=sized)
        await expect_pushed(registry, answer, manifest, digest)
        await expect_manifest(registry, REPOSITORY, "large", manifest)

    async def test_a_manifest_over_the_limit_is_refused(self, registry: Registry, *, sized: bool) -> None:
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"x": "A" * (8 * MIB)}}
        ).encode()
        answer = await put_manifest(registry, REPOSITORY, "larger", manifest, sized=sized)
        answer.expect_error(413, "SIZE_INVALID")
        (await registry.get(f"/v2/{REPOSITORY}/manifests/larger")).expect(404)
