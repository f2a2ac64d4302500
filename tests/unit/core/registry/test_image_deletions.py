"""Tags and images as callers of the API delete them."""

import pytest

from proxy.core.registry.image_ids import FailureCode, ImageId
from proxy.core.registry.images import ImageAdministration
from proxy.model.errors import ProxyError
from proxy.model.reference import Tag
from tests.unit.core.conftest import Bench
from tests.unit.core.registry.imaging import (
    CACHE,
    IMAGE,
    INDEX,
    NAME,
    OTHER,
    by_digest,
    by_tag,
    digest,
    put,
)


async def test_a_tag_goes_alone_and_the_image_with_its_last_tag(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, IMAGE, "v2")
    first = await filled.delete(NAME, by_tag("v1"))
    left = await filled.page(NAME, "", 10)
    second = await filled.delete(NAME, [ImageId(digest(IMAGE), "v2")])

    assert first == ([ImageId(digest(IMAGE), "v1")], [])
    assert [record.tags for record in left] == [("v2",)]
    assert second == ([ImageId(digest(IMAGE), "v2")], [])
    assert await filled.page(NAME, "", 10) == []


async def test_by_digest_an_image_goes_with_all_its_tags(bench: Bench, filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, IMAGE, "v2")
    await put(filled, OTHER)
    gone, failures = await filled.delete(NAME, by_digest(IMAGE, OTHER))

    assert sorted(gone, key=str) == sorted(
        [ImageId(digest(IMAGE), "v1"), ImageId(digest(IMAGE), "v2"), ImageId(digest(OTHER))], key=str
    )
    assert failures == []
    with pytest.raises(ProxyError):
        await bench.manifests.get(bench.resolve(NAME), Tag("v1"))


async def test_a_tag_and_its_image_may_be_deleted_by_one_request(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")

    assert await filled.delete(NAME, [*by_digest(IMAGE), *by_tag("v1")]) == (
        [ImageId(digest(IMAGE), "v1"), ImageId(digest(IMAGE))],
        [],
    )


async def test_what_cannot_be_deleted_is_told_of_it_alone(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, OTHER, "v2")
    asked = {
        ImageId(): FailureCode.NOTHING_NAMED,
        ImageId("latest"): FailureCode.INVALID_DIGEST,
        ImageId(digest(b"nothing")): FailureCode.NOT_FOUND,
        ImageId(tag="v3"): FailureCode.NOT_FOUND,
        ImageId(digest(OTHER), "v1"): FailureCode.MISMATCH,
    }
    gone, failures = await filled.delete(NAME, [*asked, *by_tag("v2")])

    assert gone == [ImageId(digest(OTHER), "v2")]
    assert {failure.id: failure.code for failure in failures} == asked
    assert [record.tags for record in await filled.page(NAME, "", 10)] == [("v1",)]


async def test_an_image_of_an_index_stays_until_that_goes_too(filled: ImageAdministration) -> None:
    for raw, tag in ((IMAGE, "amd64"), (OTHER, None), (INDEX, "latest")):
        await put(filled, raw, tag)
    gone, (failure,) = await filled.delete(NAME, by_digest(IMAGE))
    untagged, none = await filled.delete(NAME, by_tag("amd64"))
    left = [str(record.digest) for record in await filled.page(NAME, "", 10)]
    all_gone, failures = await filled.delete(NAME, by_digest(IMAGE, OTHER, INDEX))

    assert (gone, failure.code) == ([], FailureCode.REFERENCED)
    assert failure.reason == f"Requested image referenced by manifest list: [{digest(INDEX)}]"
    assert (untagged, none) == ([ImageId(digest(IMAGE), "amd64")], [])
    assert sorted(left) == sorted(map(digest, (IMAGE, OTHER, INDEX)))
    assert (len(all_gone), failures) == (3, [])
    assert await filled.page(NAME, "", 10) == []


async def test_images_of_a_cache_are_deleted_and_can_be_pulled_again(bench: Bench, images: ImageAdministration) -> None:
    bench.web.put(IMAGE, "v1")
    await images.get(CACHE, by_tag("v1"))
    gone, failures = await images.delete(CACHE, by_tag("v1"))
    left = await images.page(CACHE, "", 10)
    found, _ = await images.get(CACHE, by_tag("v1"))

    assert (gone, failures, left) == ([ImageId(digest(IMAGE), "v1")], [], [])
    assert [one.manifest for one in found] == [IMAGE]
