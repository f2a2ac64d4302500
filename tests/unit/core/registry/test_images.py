"""Images as callers of the API list, describe, get and put them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.image_ids import FailureCode, ImageId
from proxy.core.registry.images import ImageAdministration, NewImage
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.manifest import MANIFEST_LIMIT
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.support.documents import image
from tests.unit.core.conftest import Bench
from tests.unit.core.registry.imaging import (
    CACHE,
    CONFIG,
    IMAGE,
    INDEX,
    LAYER,
    NAME,
    OTHER,
    UNKNOWN_REPOSITORY,
    by_digest,
    by_tag,
    digest,
    put,
    refused,
)

# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("tagged", [None, True, False])
async def test_pages_hold_every_id_once_however_many_tags_an_image_has(
    filled: ImageAdministration,
    limit: int,
    tagged: bool | None,  # noqa: FBT001 - a parameter of the test
) -> None:
    raws = [image(CONFIG, LAYER, annotations={"number": str(number)}) for number in range(5)]
    expected: set[ImageId] = set()
    for number, raw in enumerate(raws):
        tags: Sequence[str | None] = [f"{number}-{each}" for each in range(number)] or [None]
        for tag in tags:
            await put(filled, raw, tag)
            if tagged in {None, tag is not None}:
                expected.add(ImageId(digest(raw), tag))

    found: list[ImageId] = []
    after: str | None = ""
    while after is not None:
        page, after = await filled.ids(NAME, after, limit, tagged=tagged)
        assert len(page) <= limit
        found += page

    assert len(found) == len(set(found))
    assert set(found) == expected


async def test_an_image_that_goes_between_two_pages_takes_nothing_else_along(filled: ImageAdministration) -> None:
    for number in range(3):
        await put(filled, IMAGE, f"v{number}")
    await put(filled, OTHER, "other")
    page, after = await filled.ids(NAME, "", 2)
    assert after is not None
    gone = page[-1].digest
    assert gone is not None
    await filled.delete(NAME, [ImageId(gone)])
    rest, _ = await filled.ids(NAME, after, 100)
    remaining, _ = await filled.ids(NAME, "", 100)

    assert [one for one in remaining if one not in rest and one not in page] == []


async def test_a_key_that_was_never_given_is_refused(filled: ImageAdministration) -> None:
    for key in ("sha256:1", "latest", " "):
        code, message = await refused(filled.ids(NAME, key, 10))
        assert code is ApiErrorCode.InvalidParameterException
        assert "'nextToken'" in message


async def test_every_method_refuses_a_repository_that_is_not_there(images: ImageAdministration) -> None:
    unknown = ApiErrorCode.RepositoryNotFoundException, UNKNOWN_REPOSITORY.format(NAME)
    for work in (
        images.ids(NAME, "", 10),
        images.page(NAME, "", 10),
        images.describe(NAME, by_tag("v1")),
        images.get(NAME, by_tag("v1")),
        images.delete(NAME, by_tag("v1")),
        images.put(NAME, NewImage(IMAGE)),
        images.referrers(NAME, digest(IMAGE), [], "", 10),
    ):
        assert await refused(work) == unknown


async def test_the_name_of_a_prefix_is_a_repository_where_one_was_made(
    bench: Bench, images: ImageAdministration
) -> None:
    name = RepositoryName("quay")
    unknown = ApiErrorCode.RepositoryNotFoundException, UNKNOWN_REPOSITORY.format(name)
    before = [await refused(work) for work in (images.page(name, "", 10), images.get(name, by_tag("v1")))]
    await bench.metadata.create_repository(RepositoryRecord(name, 1.0))
    found, (failure,) = await images.get(name, by_tag("v1"))

    assert before == [unknown, unknown]
    assert await images.page(name, "", 10) == []
    assert (found, failure.code) == ([], FailureCode.NOT_FOUND)


async def test_images_are_described_by_their_ids_each_once(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, IMAGE, "latest")
    await put(filled, OTHER)
    found = await filled.describe(NAME, [*by_digest(OTHER), *by_tag("v1", "latest"), ImageId(digest(IMAGE), "v1")])

    assert [str(record.digest) for record in found] == [digest(OTHER), digest(IMAGE)]
    assert found[1].tags == ("latest", "v1")
    assert found[1].content_size == len(CONFIG) + len(LAYER)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (ImageId(tag="nothing"), "{imageDigest:'null', imageTag:'nothing'}"),
        (ImageId(digest(b"nothing")), f"{{imageDigest:'{digest(b'nothing')}', imageTag:'null'}}"),
        (ImageId(digest(OTHER), "v1"), f"{{imageDigest:'{digest(OTHER)}', imageTag:'v1'}}"),
        (ImageId("sha256:1"), "{imageDigest:'sha256:1', imageTag:'null'}"),
    ],
)
async def test_the_first_image_that_is_not_there_ends_the_description(
    filled: ImageAdministration, asked: ImageId, shown: str
) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, OTHER)

    assert await refused(filled.describe(NAME, [*by_tag("v1"), asked])) == (
        ApiErrorCode.ImageNotFoundException,
        (
            f"The image with imageId {shown} does not exist within the repository with name 'team/app' in the registry "
            "with id '012345678910'"
        ),
    )


@pytest.mark.parametrize("asked", [ImageId(), ImageId("latest"), ImageId(tag=".v1"), ImageId(tag="v" * 129)])
async def test_an_id_that_names_nothing_is_a_wrong_parameter(filled: ImageAdministration, asked: ImageId) -> None:
    code, message = await refused(filled.describe(NAME, [asked]))

    assert code is ApiErrorCode.InvalidParameterException
    assert message.startswith("Invalid request parameters: ")


# --- images -----------------------------------------------------------------------------------------------------------


async def test_images_are_got_byte_for_byte_and_count_as_pulled(
    filled: ImageAdministration, pulled: list[tuple[RepositoryName, Digest]]
) -> None:
    spaced = json.dumps(json.loads(IMAGE), indent=7).encode()
    await put(filled, spaced, "v1")
    (one, two, three), failures = await filled.get(
        NAME, [*by_tag("v1"), *by_digest(spaced), ImageId(digest(spaced), "v1")]
    )

    assert failures == []
    assert one.manifest == two.manifest == three.manifest == spaced
    assert one.id == three.id == ImageId(digest(spaced), "v1")
    assert two.id == ImageId(digest(spaced))
    assert one.media_type == OCI_MANIFEST
    assert pulled == [(NAME, Digest.of(spaced))] * 3


async def test_what_is_wrong_with_an_id_is_told_of_it_alone(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, OTHER)
    asked = {
        ImageId(): FailureCode.NOTHING_NAMED,
        ImageId("latest"): FailureCode.INVALID_DIGEST,
        ImageId(tag="-v1"): FailureCode.INVALID_TAG,
        ImageId("sha256:1"): FailureCode.NOT_FOUND,
        ImageId(digest(b"nothing")): FailureCode.NOT_FOUND,
        ImageId(tag="v2"): FailureCode.NOT_FOUND,
        ImageId(digest(OTHER), "v1"): FailureCode.MISMATCH,
    }
    found, failures = await filled.get(NAME, [*asked, *by_tag("v1"), *asked])

    assert [one.id.tag for one in found] == ["v1"]
    assert {failure.id: failure.code for failure in failures} == asked
    assert len(failures) == len(asked)
    reasons = {failure.code: failure.reason for failure in failures}
    assert reasons[FailureCode.NOT_FOUND] == "Requested image not found"
    assert reasons[FailureCode.NOTHING_NAMED] == "Invalid request parameters: both tag and digest cannot be null"
    assert reasons[FailureCode.INVALID_DIGEST] == (
        "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
    )


async def test_more_than_fits_into_an_answer_is_refused(bench: Bench, filled: ImageAdministration) -> None:
    resolution = bench.resolve(NAME)
    padding = "x" * (MANIFEST_LIMIT - 4_096)
    raws = [image(CONFIG, LAYER, annotations={"number": str(number), "padding": padding}) for number in range(3)]
    for raw in raws:
        await bench.contents.store(Digest.of(raw), raw)
        await filled.put(resolution.repository, NewImage(raw))
    found, failures = await filled.get(NAME, by_digest(*raws[:2]))

    assert (len(found), failures) == (2, [])
    assert (await refused(filled.get(NAME, by_digest(*raws))))[0] is ApiErrorCode.LimitExceededException


async def test_an_image_that_a_cache_does_not_hold_is_pulled_through(
    bench: Bench, images: ImageAdministration, pulled: list[tuple[RepositoryName, Digest]]
) -> None:
    bench.web.put(IMAGE, "v1")
    (one,), failures = await images.get(CACHE, by_tag("v1"))
    again, _ = await images.get(CACHE, [*by_tag("v1"), *by_digest(IMAGE)])

    assert (one.manifest, failures) == (IMAGE, [])
    assert [each.manifest for each in again] == [IMAGE, IMAGE]
    assert bench.upstream.journal == ["GET quay.io/app/web v1"]
    assert pulled[0] == (CACHE, Digest.of(IMAGE))
    assert [record.tags for record in await images.page(CACHE, "", 10)] == [("v1",)]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UpstreamFailure.CREDENTIALS_REFUSED, FailureCode.UPSTREAM_DENIED),
        (UpstreamFailure.RATE_LIMITED, FailureCode.UPSTREAM_LIMITED),
        (UpstreamFailure.TIMEOUT, FailureCode.UPSTREAM_UNAVAILABLE),
        (UpstreamFailure.SERVER_ERROR, FailureCode.UPSTREAM_UNAVAILABLE),
        (UpstreamFailure.GARBAGE, FailureCode.UPSTREAM_UNAVAILABLE),
    ],
)
async def test_an_upstream_that_fails_is_told_of_each_image(
    bench: Bench, images: ImageAdministration, failure: UpstreamFailure, code: FailureCode
) -> None:
    bench.web.put(IMAGE, "kept")
    await images.get(CACHE, by_tag("kept"))
    bench.upstream.fail(failure)
    found, failures = await images.get(CACHE, by_tag("kept", "v1"))

    assert [one.id.tag for one in found] == ["kept"]
    assert [(one.id, one.code) for one in failures] == [(ImageId(tag="v1"), code)]
    assert failures[0].reason


async def test_a_cache_of_which_nothing_is_there_leaves_no_repository(
    bench: Bench, images: ImageAdministration
) -> None:
    assert bench.web.tags == {}

    assert (await refused(images.get(CACHE, by_tag("v1"))))[0] is ApiErrorCode.RepositoryNotFoundException
    assert await bench.metadata.has_repository(CACHE) is False


async def test_what_a_rule_keeps_back_is_denied_from_what_is_kept_too(
    bench: Bench, images: ImageAdministration
) -> None:
    bench.web.put(IMAGE, "v1")
    await images.get(CACHE, by_tag("v1"))
    bench.with_rule(deny=("app/*",))
    found, failures = await images.get(CACHE, by_tag("v1"))

    assert found == []
    assert [failure.code for failure in failures] == [FailureCode.UPSTREAM_DENIED]
    assert "deny" in failures[0].reason
    assert len(await images.page(CACHE, "", 10)) == 1  # for administrators it is there


# --- put --------------------------------------------------------------------------------------------------------------


async def test_an_image_that_is_put_can_be_pulled(bench: Bench, filled: ImageAdministration) -> None:
    kept = await filled.put(NAME, NewImage(IMAGE, tag="v1"))
    answer = await bench.manifests.get(bench.resolve(NAME), Tag("v1"))

    assert kept.id == ImageId(digest(IMAGE), "v1")
    assert (answer.raw, answer.media_type) == (IMAGE, OCI_MANIFEST)
    assert (kept.manifest, kept.media_type) == (IMAGE, OCI_MANIFEST)


@pytest.mark.parametrize("mutability", [TagMutability.MUTABLE, TagMutability.IMMUTABLE])
async def test_the_same_digest_and_tag_again_is_refused(
    bench: Bench, filled: ImageAdministration, mutability: TagMutability
) -> None:
    await put(filled, IMAGE, "v1")
    await bench.metadata.set_tag_policy(NAME, TagPolicy(mutability))

    assert await refused(put(filled, IMAGE, "v1")) == (
        ApiErrorCode.ImageAlreadyExistsException,
        (
            f"Image with digest '{digest(IMAGE)}' and tag 'v1' already exists in the repository with name 'team/app' "
            "in registry with id '012345678910'"
        ),
    )


async def test_the_same_digest_without_a_tag_again_is_refused(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    code, message = await refused(put(filled, IMAGE))

    assert code is ApiErrorCode.ImageAlreadyExistsException
    assert "and tag 'null' already" in message


async def test_an_immutable_tag_does_not_move_but_its_image_gets_others(
    bench: Bench, filled: ImageAdministration
) -> None:
    await put(filled, IMAGE, "v1")
    await bench.metadata.set_tag_policy(NAME, TagPolicy(TagMutability.IMMUTABLE))
    code, message = await refused(put(filled, OTHER, "v1"))
    await put(filled, IMAGE, "v2")
    await filled.delete(NAME, by_tag("v1"))
    await put(filled, OTHER, "v1")

    assert code is ApiErrorCode.ImageTagAlreadyExistsException
    assert "cannot be overwritten because the tag is immutable" in message
    assert [record.tags for record in await filled.describe(NAME, by_tag("v1", "v2"))] == [("v1",), ("v2",)]


async def test_a_mutable_tag_moves(filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await put(filled, OTHER, "v1")

    assert [str(record.digest) for record in await filled.describe(NAME, by_tag("v1"))] == [digest(OTHER)]


async def test_of_many_who_put_the_same_at_once_one_succeeds(filled: ImageAdministration) -> None:
    outcomes = await asyncio.gather(*(put(filled, IMAGE, "v1") for _ in range(8)), return_exceptions=True)
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, ApiError)]

    assert codes == [ApiErrorCode.ImageAlreadyExistsException] * 7
    assert outcomes.count(None) == 1


async def test_refusals_of_tags_come_before_those_of_content(bench: Bench, filled: ImageAdministration) -> None:
    await put(filled, IMAGE, "v1")
    await bench.metadata.set_tag_policy(NAME, TagPolicy(TagMutability.IMMUTABLE))

    code, _ = await refused(put(filled, image(b"unknown"), "v1"))
    assert code is ApiErrorCode.ImageTagAlreadyExistsException


async def test_layers_that_are_missing_are_all_named(filled: ImageAdministration) -> None:
    missing = sorted([digest(b"one"), digest(b"two")])
    raw = image(CONFIG, b"one", LAYER, b"two")

    assert await refused(put(filled, raw, "v1")) == (
        ApiErrorCode.LayersNotFoundException,
        (
            f"Layers with digests '[{', '.join(missing)}]' required for pushing image into repository with name "
            "'team/app' in the registry with id '012345678910' do not exist"
        ),
    )
    assert await filled.page(NAME, "", 10) == []


async def test_images_of_an_index_that_are_missing_are_named(filled: ImageAdministration) -> None:
    await put(filled, IMAGE)

    assert await refused(put(filled, INDEX, "v1")) == (
        ApiErrorCode.ReferencedImagesNotFoundException,
        (
            f"Images with digests '[{digest(OTHER)}]' required for pushing image into repository with name "
            "'team/app' in the registry with id '012345678910' do not exist"
        ),
    )
    await put(filled, OTHER)
    await put(filled, INDEX, "v1")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_the_digest_that_is_given_must_be_that_of_the_manifest(
    filled: ImageAdministration, algorithm: str
) -> None:
    right = str(Digest.of(IMAGE, algorithm))
    kept = await filled.put(NAME, NewImage(IMAGE, tag="v1", digest=right))
    wrong = NewImage(OTHER, tag="v2", digest=right)

    assert kept.id == ImageId(right, "v1")
    assert (await refused(filled.put(NAME, wrong)))[0] is ApiErrorCode.ImageDigestDoesNotMatchException
    for digest_given in ("sha256:1", "latest"):
        code, message = await refused(filled.put(NAME, replace(wrong, digest=digest_given)))
        assert (code, "'imageDigest'" in message) == (ApiErrorCode.InvalidParameterException, True)


async def test_a_manifest_needs_a_media_type_from_somewhere(filled: ImageAdministration) -> None:
    document = json.loads(IMAGE)
    del document["mediaType"]
    raw = json.dumps(document).encode()
    code, message = await refused(filled.put(NAME, NewImage(raw, tag="v1")))
    kept = await filled.put(NAME, NewImage(raw, f"{OCI_MANIFEST}; charset=utf-8", tag="v1"))

    assert (code, "'imageManifest'" in message) == (ApiErrorCode.InvalidParameterException, True)
    assert kept.media_type == OCI_MANIFEST
    assert [record.media_type for record in await filled.page(NAME, "", 10)] == [OCI_MANIFEST]


@pytest.mark.parametrize(
    ("given", "member"),
    [
        (NewImage(b"no manifest"), "imageManifest"),
        (NewImage(IMAGE, OCI_INDEX), "imageManifest"),
        (NewImage(IMAGE, "text/html"), "imageManifest"),
        (NewImage(IMAGE, tag="v/1"), "imageTag"),
        (NewImage(IMAGE, tag="v" * 129), "imageTag"),
    ],
)
async def test_what_is_no_image_is_a_wrong_parameter(filled: ImageAdministration, given: NewImage, member: str) -> None:
    code, message = await refused(filled.put(NAME, given))

    assert code is ApiErrorCode.InvalidParameterException
    assert f"'{member}'" in message


async def test_a_cache_takes_no_images(bench: Bench, images: ImageAdministration) -> None:
    bench.web.put(IMAGE, "v1")
    await images.get(CACHE, by_tag("v1"))
    with pytest.raises(ProxyError) as raised:
        await images.put(CACHE, NewImage(OTHER, tag="v1"))

    assert raised.value.code is ErrorCode.UNSUPPORTED
