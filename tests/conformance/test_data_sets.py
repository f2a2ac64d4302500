"""Content of every kind: pushed, listed, pulled, found by its subject, and deleted."""

from typing import Any

import pytest

from tests.conformance.conftest import REPOSITORY
from tests.conformance.data_sets import DATA_SETS, DataSet
from tests.conformance.pushing import push
from tests.conformance.reading import expect_blob, expect_manifest, expect_referrers, expect_tags, referrers
from tests.conformance.registry import Registry, digest_of


@pytest.fixture(params=DATA_SETS)
def data(request: pytest.FixtureRequest) -> DataSet:
    return DATA_SETS[request.param]()


@pytest.fixture
def sections(data: DataSet) -> dict[str, Any]:
    return {"registry": {"sparse_indexes": data.sparse}}


@pytest.fixture
async def pushed(registry: Registry, data: DataSet) -> DataSet:
    """The data set, in the registry; each answer on the way there was right."""
    await push(registry, REPOSITORY, data)
    return data


def tag_digest(data: DataSet, tag: str) -> str:
    """Return by which digest the manifest of a tag is known to those who ask for the tag."""
    return data.tags[tag] if data.by_parameter else digest_of(data.manifests[data.tags[tag]])


async def test_its_tags_are_listed(registry: Registry, pushed: DataSet) -> None:
    await expect_tags(registry, REPOSITORY, *pushed.tags)


async def test_what_was_pushed_is_pulled_unchanged(registry: Registry, pushed: DataSet) -> None:
    for tag, digest in pushed.tags.items():
        await expect_manifest(registry, REPOSITORY, tag, pushed.manifests[digest], tag_digest(pushed, tag))
    for digest, manifest in pushed.manifests.items():
        await expect_manifest(registry, REPOSITORY, digest, manifest)
    for blob in pushed.each_blob():
        await expect_blob(registry, REPOSITORY, blob)


async def test_its_referrers_are_found(registry: Registry, pushed: DataSet) -> None:
    for subject, expected in pushed.referrers.items():
        await expect_referrers(registry, REPOSITORY, subject, expected)
    for digest in pushed.manifests.keys() - pushed.referrers.keys():
        assert await referrers(registry, REPOSITORY, digest) == []


async def test_what_is_deleted_is_gone_at_once(registry: Registry, pushed: DataSet) -> None:
    for tag, digest in pushed.tags.items():
        target = f"/v2/{REPOSITORY}/manifests/{tag}"
        (await registry.delete(target)).expect(202)
        (await registry.head(target)).expect(404)
        (await registry.get(target)).expect_error(404, "MANIFEST_UNKNOWN")
        await expect_manifest(registry, REPOSITORY, digest, pushed.manifests[digest])
    left = {subject: dict(found) for subject, found in pushed.referrers.items()}
    for digest in reversed(pushed.manifests):
        target = f"/v2/{REPOSITORY}/manifests/{digest}"
        (await registry.delete(target)).expect(202)
        (await registry.head(target)).expect(404)
        (await registry.get(target)).expect_error(404, "MANIFEST_UNKNOWN")
        for subject, found in left.items():
            found.pop(digest, None)
            assert {each["digest"] for each in await referrers(registry, REPOSITORY, subject)} == set(found)
    for blob in pushed.each_blob():
        target = f"/v2/{REPOSITORY}/blobs/{blob.digest}"
        (await registry.delete(target)).expect(202)
        (await registry.head(target)).expect(404)
        (await registry.get(target)).expect_error(404, "BLOB_UNKNOWN")
    assert set(pushed.tags).isdisjoint((await registry.get(f"/v2/{REPOSITORY}/tags/list")).json.get("tags", []))
