"""What refers to an image, as callers of the API list it."""

import pytest

from proxy.core.registry.images import ImageAdministration
from proxy.model.api_errors import ApiErrorCode
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from tests.support.documents import descriptor, image
from tests.unit.core.conftest import Bench
from tests.unit.core.registry.imaging import (
    CACHE,
    CONFIG,
    IMAGE,
    LAYER,
    NAME,
    by_tag,
    digest,
    put,
    refused,
)

TYPES = ("application/vnd.sbom", "application/vnd.signature", "application/vnd.other")


async def put_referrers(images: ImageAdministration, count: int) -> dict[str, str]:
    """Put referrers of `IMAGE`; return the artifact types by digest."""
    await put(images, IMAGE, "v1")
    found = {}
    for number in range(count):
        kind = TYPES[number % 3]
        raw = image(
            CONFIG, LAYER, artifactType=kind, subject=descriptor(IMAGE, OCI_MANIFEST), annotations={"n": f"{number}"}
        )
        await put(images, raw)
        found[digest(raw)] = kind
    return found


@pytest.mark.parametrize("limit", [1, 2, 5, 50])
@pytest.mark.parametrize("types", [(), TYPES[:1], TYPES[:2], ("application/vnd.none", TYPES[2])])
async def test_pages_hold_every_referrer_of_the_types_once(
    filled: ImageAdministration, limit: int, types: tuple[str, ...]
) -> None:
    known = await put_referrers(filled, 10)
    found: list[Descriptor] = []
    after: str | None = ""
    while after is not None:
        page, after = await filled.referrers(NAME, digest(IMAGE), types, after, limit)
        assert len(page) <= limit
        found += page

    assert [str(one.digest) for one in found] == sorted(
        each for each, kind in known.items() if not types or kind in types
    )
    assert all(one.artifact_type == known[str(one.digest)] for one in found)


async def test_an_image_without_referrers_has_none(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")

    assert await filled.referrers(NAME, digest(IMAGE), [], "", 10) == ([], None)
    assert (await refused(filled.referrers(NAME, "v1", [], "", 10)))[0] is ApiErrorCode.InvalidParameterException


async def test_a_cache_has_the_referrers_of_its_upstream(bench: Bench, images: ImageAdministration) -> None:
    bench.web.put(IMAGE, "v1")
    listed = Descriptor(OCI_MANIFEST, Digest.of(b"signature"), 7, TYPES[1])
    bench.web.referrers = {Digest.of(IMAGE): [listed]}
    await images.get(CACHE, by_tag("v1"))

    assert await images.referrers(CACHE, digest(IMAGE), [], "", 10) == ([listed], None)


@pytest.mark.parametrize("failure", [UpstreamFailure.CREDENTIALS_REFUSED, UpstreamFailure.TIMEOUT])
async def test_an_upstream_that_lists_no_referrers_is_told_so(
    bench: Bench, images: ImageAdministration, failure: UpstreamFailure
) -> None:
    bench.web.put(IMAGE, "v1")
    await images.get(CACHE, by_tag("v1"))
    bench.upstream.fail(failure)
    code, _ = await refused(images.referrers(CACHE, digest(IMAGE), [], "", 10))

    assert code is ApiErrorCode.UnableToListUpstreamImageReferrersException
