"""Deleting tags, manifests and blobs."""

import pytest

from proxy.core.pushes import PushedManifest
from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.support.bodies import body
from tests.support.documents import image
from tests.unit.core.conftest import SOURCE, Bench

CONFIG = b"{}"
IMAGE = image(CONFIG)
OTHER = image(CONFIG, annotations={"other": "yes"})
V1, V2 = Tag("v1"), Tag("v2")


async def push(bench: Bench, resolution: Resolution, raw: bytes, tag: Tag = V1) -> Digest:
    await bench.uploads.whole(resolution, Digest.of(CONFIG), Chunk(body(CONFIG)))
    return (await bench.pushes.put(resolution, PushedManifest(raw, OCI_MANIFEST, tag))).digest


async def refusal(bench: Bench, resolution: Resolution, reference: Tag | Digest) -> ErrorCode:
    with pytest.raises(ProxyError) as raised:
        await bench.deletions.manifest(resolution, reference)
    return raised.value.code


async def absent(bench: Bench, resolution: Resolution, reference: Tag | Digest) -> ErrorCode:
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(resolution, reference)
    return raised.value.code


@pytest.fixture
def hosted(bench: Bench) -> Resolution:
    return bench.resolve("team/app")


async def test_a_tag_goes_and_what_it_pointed_to_stays(bench: Bench, hosted: Resolution) -> None:
    digest = await push(bench, hosted, IMAGE)
    await push(bench, hosted, IMAGE, V2)
    await bench.deletions.manifest(hosted, V1)
    assert await absent(bench, hosted, V1) is ErrorCode.MANIFEST_UNKNOWN
    for reference in (V2, digest):
        assert (await bench.manifests.get(hosted, reference)).raw == IMAGE


async def test_a_manifest_goes_with_its_tags_only(bench: Bench, hosted: Resolution) -> None:
    digest = await push(bench, hosted, IMAGE)
    await push(bench, hosted, OTHER, V2)
    await bench.deletions.manifest(hosted, digest)
    for reference in (V1, digest):
        assert await absent(bench, hosted, reference) is ErrorCode.MANIFEST_UNKNOWN
    assert (await bench.manifests.get(hosted, V2)).raw == OTHER


async def test_a_blob_goes_from_one_repository_and_stays_in_others(bench: Bench, hosted: Resolution) -> None:
    digest, other = Digest.of(CONFIG), bench.resolve("team/other")
    for resolution in (hosted, other):
        await bench.uploads.whole(resolution, digest, Chunk(body(CONFIG)))
    await bench.deletions.blob(hosted, digest)
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(hosted, digest)
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN
    assert (await bench.blobs.head(other, digest)).size == len(CONFIG)


async def test_deleting_frees_an_immutable_tag(bench: Bench, hosted: Resolution) -> None:
    await bench.repositories.create(RepositoryName("team/app"), TagPolicy(TagMutability.IMMUTABLE))
    await push(bench, hosted, IMAGE)
    await bench.deletions.manifest(hosted, V1)
    assert await push(bench, hosted, OTHER) == Digest.of(OTHER)


async def test_what_is_not_there_is_told_apart(bench: Bench, hosted: Resolution) -> None:
    digest = Digest.of(b"another")
    with pytest.raises(ProxyError) as raised:
        await bench.deletions.blob(hosted, digest)
    codes = [await refusal(bench, hosted, V1), await refusal(bench, hosted, digest), raised.value.code]
    assert codes == [ErrorCode.NAME_UNKNOWN] * 3
    await push(bench, hosted, IMAGE)
    with pytest.raises(ProxyError) as raised:
        await bench.deletions.blob(hosted, digest)
    codes = [await refusal(bench, hosted, V2), await refusal(bench, hosted, digest), raised.value.code]
    assert codes == [ErrorCode.MANIFEST_UNKNOWN, ErrorCode.MANIFEST_UNKNOWN, ErrorCode.BLOB_UNKNOWN]


async def test_nothing_is_deleted_from_a_cache(bench: Bench) -> None:
    digest = bench.web.put(IMAGE, V1)
    await bench.manifests.get(bench.resolve(), V1)
    for reference in (V1, digest):
        assert await refusal(bench, bench.resolve(), reference) is ErrorCode.UNSUPPORTED
    with pytest.raises(ProxyError) as raised:
        await bench.deletions.blob(bench.resolve(), digest)
    assert raised.value.code is ErrorCode.UNSUPPORTED
    assert (await bench.manifests.get(bench.resolve(), V1)).status.outcome == "hit"


async def test_what_upstream_said_before_a_deletion_is_asked_again(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution, digest = bench.resolve(), bench.web.put(IMAGE, V1)
    bench.web.put(OTHER, V2)
    await bench.manifests.get(resolution, V2)
    asked = f"HEAD {SOURCE} {V1}"
    for _ in range(2):
        await bench.manifests.head(resolution, V1)
    assert bench.upstream.journal.count(asked) == 1
    await bench.deletions.manifest(resolution, V2)
    # Nor is a tag that clients were told of before kept with its manifest.
    await bench.manifests.get(resolution, digest)
    assert await bench.metadata.tag(resolution.repository, V1) is None
    await bench.manifests.head(resolution, V1)
    assert bench.upstream.journal.count(asked) == 2


async def test_a_full_disk_is_told(bench: Bench, hosted: Resolution) -> None:
    digest = await push(bench, hosted, IMAGE)
    bench.metadata.full = True
    for reference in (V1, digest):
        assert await refusal(bench, hosted, reference) is ErrorCode.STORAGE_FULL
    with pytest.raises(ProxyError) as raised:
        await bench.deletions.blob(hosted, Digest.of(CONFIG))
    assert raised.value.code is ErrorCode.STORAGE_FULL
