"""The operations on images, as boto3 calls them, beside the distribution API of the same registry."""

import base64
import urllib.error
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from proxy.config.settings import Settings
from proxy.core.offloading import Offloader
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.administration import Administration
from proxy.http.aws.dispatch import Api
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import RepositoryName
from tests.support.documents import CONFIG_TYPE, descriptor, image, index
from tests.support.images import Image, push
from tests.unit.http.aws.conftest import Client
from tests.unit.http.aws.contents import Contents

ACCOUNT = "012345678910"
CONFIG, LAYER = b"{}", b"the bytes of a layer"
RAW = image(CONFIG, LAYER)
PUSHED = Image(RAW, OCI_MANIFEST, {str(Digest.of(blob)): blob for blob in (CONFIG, LAYER)})
DIGEST = PUSHED.digest
NAME = RepositoryName("team/app")
UNKNOWN = f"The repository with name 'team/none' does not exist in the registry with id '{ACCOUNT}'"


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "registry": {"account_id": ACCOUNT},
            "rules": [{"prefix": "quay", "upstream": "quay.io"}],
        }
    )


@dataclass
class Registry:
    """One registry with both of its APIs, and the upstream behind it."""

    url: str
    ecr: Client
    contents: Contents

    async def push(self, reference: str = "v1", pushed: Image = PUSHED, name: str = NAME) -> None:
        await to_thread(push, pushed, self.url, name, reference)

    async def fetch(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a GET on the distribution API, or of any URL."""

        def get() -> tuple[int, bytes]:
            url = path if path.startswith("http") else f"{self.url}/v2/{path}"
            accepted = f"{OCI_MANIFEST}, {OCI_INDEX}"
            request = urllib.request.Request(url, headers={"Accept": accepted})  # noqa: S310 - loopback only
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback only
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        return await to_thread(get)


@pytest.fixture
async def registry(services: Administration, contents: Contents) -> AsyncIterator[Registry]:
    surface = await to_thread(Api, services, Offloader())
    await contents.metadata.create_repository(RepositoryRecord(NAME, 1.0))
    async with TestServer(contents.application(surface)) as server:
        url = str(server.make_url("")).rstrip("/")
        yield Registry(url, Client("ecr", url, "us-east-1", validate=True), contents)


async def details(registry: Registry, **parameters: object) -> list[dict[str, Any]]:
    answer = await registry.ecr("describe_images", repositoryName=NAME, **parameters)
    found: list[dict[str, Any]] = answer["imageDetails"]
    return found


# --- what both APIs say ---------------------------------------------------------------------------------------------


async def test_an_image_that_a_client_pushed_is_described(registry: Registry) -> None:
    await registry.push()
    (found,) = await details(registry, imageIds=[{"imageTag": "v1"}])
    pushed_at = found.pop("imagePushedAt")

    assert found == {
        "registryId": ACCOUNT,
        "repositoryName": NAME,
        "imageDigest": DIGEST,
        "imageTags": ["v1"],
        "imageSizeInBytes": len(CONFIG) + len(LAYER),
        "imageManifestMediaType": OCI_MANIFEST,
        "artifactMediaType": CONFIG_TYPE,
        "imageStatus": "ACTIVE",
    }
    assert pushed_at.timestamp() > 0


async def test_the_manifest_comes_back_byte_for_byte(registry: Registry) -> None:
    raw = RAW.replace(b"{", b'{ "org.example.\xc3\xa4": "\\u00e4\\/",\n\t', 1)
    await registry.push(pushed=Image(raw, OCI_MANIFEST, PUSHED.blobs))
    answer = await registry.ecr("batch_get_image", repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
    (found,) = answer["images"]

    assert found.pop("imageManifest").encode() == raw
    assert found == {
        "registryId": ACCOUNT,
        "repositoryName": NAME,
        "imageId": {"imageDigest": str(Digest.of(raw)), "imageTag": "v1"},
        "imageManifestMediaType": OCI_MANIFEST,
    }
    assert answer["failures"] == []


async def test_nothing_is_converted_to_what_the_caller_accepts(registry: Registry) -> None:
    await registry.push()
    accepted = ["application/vnd.docker.distribution.manifest.v1+json"]
    answer = await registry.ecr(
        "batch_get_image", repositoryName=NAME, imageIds=[{"imageTag": "v1"}], acceptedMediaTypes=accepted
    )

    assert answer["images"][0]["imageManifestMediaType"] == OCI_MANIFEST


async def test_a_pull_is_recorded_once_it_is_written_down(registry: Registry) -> None:
    await registry.push()
    before = await details(registry)
    await registry.fetch(f"{NAME}/manifests/v1")
    await registry.contents.notes.write()
    (after,) = await details(registry)

    assert "lastRecordedPullTime" not in before[0]
    assert after["lastRecordedPullTime"].timestamp() == registry.contents.clock.now()


async def test_a_layer_is_downloaded_from_the_url_that_is_told(registry: Registry) -> None:
    await registry.push()
    digest = str(Digest.of(LAYER))
    answer = await registry.ecr("get_download_url_for_layer", repositoryName=NAME, layerDigest=digest)

    assert answer["layerDigest"] == digest
    assert await registry.fetch(answer["downloadUrl"]) == (200, LAYER)


async def test_what_the_api_deletes_cannot_be_pulled(registry: Registry) -> None:
    await registry.push("v1")
    await registry.push("v2")
    first = await registry.ecr("batch_delete_image", repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
    one, two = await registry.fetch(f"{NAME}/manifests/v1"), await registry.fetch(f"{NAME}/manifests/v2")
    second = await registry.ecr("batch_delete_image", repositoryName=NAME, imageIds=[{"imageDigest": DIGEST}])

    assert first == {"imageIds": [{"imageDigest": DIGEST, "imageTag": "v1"}], "failures": []}
    assert (one[0], two[0]) == (404, 200)
    assert second == {"imageIds": [{"imageDigest": DIGEST, "imageTag": "v2"}], "failures": []}
    assert (await registry.fetch(f"{NAME}/manifests/{DIGEST}"))[0] == 404
    assert await details(registry) == []


async def test_an_image_is_pushed_by_the_api_alone_and_pulled(registry: Registry) -> None:
    for blob in (CONFIG, LAYER):
        begun = await registry.ecr("initiate_layer_upload", repositoryName=NAME)
        part = {"partFirstByte": 0, "partLastByte": len(blob) - 1, "layerPartBlob": blob}
        upload = {"repositoryName": NAME, "uploadId": begun["uploadId"]}
        sent = await registry.ecr("upload_layer_part", **upload, **part)
        done = await registry.ecr("complete_layer_upload", **upload, layerDigests=[str(Digest.of(blob))])
        assert (begun["partSize"], sent["lastByteReceived"]) == (10 << 20, len(blob) - 1)
        assert done == {"registryId": ACCOUNT, **upload, "layerDigest": str(Digest.of(blob))}
    put = await registry.ecr("put_image", repositoryName=NAME, imageManifest=RAW.decode(), imageTag="v1")

    assert put["image"] == {
        "registryId": ACCOUNT,
        "repositoryName": NAME,
        "imageId": {"imageDigest": DIGEST, "imageTag": "v1"},
        "imageManifest": RAW.decode(),
        "imageManifestMediaType": OCI_MANIFEST,
    }
    assert await registry.fetch(f"{NAME}/manifests/v1") == (200, RAW)
    assert await registry.fetch(f"{NAME}/blobs/{Digest.of(LAYER)}") == (200, LAYER)


# --- lists ------------------------------------------------------------------------------------------------------------


async def push_some(registry: Registry) -> set[tuple[str, str | None]]:
    """Push three images: one with three tags, one with one, one with none; return their ids."""
    expected: set[tuple[str, str | None]] = set()
    names: list[list[str | None]] = [["a", "b", "c"], ["d"], [None]]
    for number, tags in enumerate(names):
        raw = image(CONFIG, LAYER, annotations={"number": str(number)})
        pushed = Image(raw, OCI_MANIFEST, PUSHED.blobs)
        for tag in tags:
            await registry.push(tag or pushed.digest, pushed)
            expected.add((pushed.digest, tag))
    return expected


@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_the_paginator_gets_every_id_once(registry: Registry, size: int) -> None:
    expected = await push_some(registry)
    pages = await registry.ecr.pages("list_images", repositoryName=NAME, PaginationConfig={"PageSize": size})
    found = [(one["imageDigest"], one.get("imageTag")) for page in pages for one in page["imageIds"]]
    described = await registry.ecr.pages("describe_images", repositoryName=NAME, PaginationConfig={"PageSize": size})

    assert sorted(found, key=str) == sorted(expected, key=str)
    digests = [one["imageDigest"] for page in described for one in page["imageDetails"]]
    assert sorted(digests) == sorted({digest for digest, _ in expected})


@pytest.mark.parametrize(("status", "count"), [("TAGGED", 4), ("UNTAGGED", 1), ("ANY", 5)])
async def test_lists_are_filtered_by_whether_images_have_tags(registry: Registry, status: str, count: int) -> None:
    await push_some(registry)
    listed = await registry.ecr("list_images", repositoryName=NAME, filter={"tagStatus": status})
    described = await details(registry, filter={"tagStatus": status})

    assert len(listed["imageIds"]) == count
    assert all(("imageTag" in one) == (status == "TAGGED") for one in listed["imageIds"] if status != "ANY")
    assert len(described) == {"TAGGED": 2, "UNTAGGED": 1, "ANY": 3}[status]


@pytest.mark.parametrize(("status", "there"), [("ACTIVE", True), ("ANY", True), ("ARCHIVED", False)])
async def test_all_images_are_active(registry: Registry, status: str, there: bool) -> None:  # noqa: FBT001 - a parameter of the test
    await registry.push()
    only = {"imageStatus": status}

    assert bool((await registry.ecr("list_images", repositoryName=NAME, filter=only))["imageIds"]) is there
    assert bool(await details(registry, filter=only)) is there
    assert bool(await details(registry, imageIds=[{"imageTag": "v1"}], filter=only)) is there
    code, _ = await registry.ecr.refused("list_images", repositoryName="team/none", filter=only)
    assert code == "RepositoryNotFoundException"


async def test_an_index_lists_its_images_untagged(registry: Registry) -> None:
    children = tuple(
        Image(image(CONFIG, LAYER, annotations={"arch": arch}), OCI_MANIFEST, PUSHED.blobs) for arch in ("a", "b")
    )
    whole = Image(index(*(child.manifest for child in children)), OCI_INDEX, {}, children)
    await registry.push("latest", whole)
    found = {one["imageDigest"]: one for one in await details(registry)}
    answer = await registry.ecr(
        "batch_delete_image", repositoryName=NAME, imageIds=[{"imageDigest": children[0].digest}]
    )

    assert found.keys() == {whole.digest, *(child.digest for child in children)}
    assert found[whole.digest]["imageSizeInBytes"] == len(CONFIG) + len(LAYER)
    assert [one.get("imageTags") for one in found.values()].count(None) == 2
    assert [one["failureCode"] for one in answer["failures"]] == ["ImageReferencedByManifestList"]


async def test_referrers_are_listed_in_pages_of_their_types(registry: Registry) -> None:
    await registry.push()
    for number in range(5):
        kind = f"application/vnd.kind{number % 2}"
        about = {"artifactType": kind, "subject": descriptor(RAW, OCI_MANIFEST), "annotations": {"n": str(number)}}
        raw = image(CONFIG, LAYER, **about)
        await registry.push(str(Digest.of(raw)), Image(raw, OCI_MANIFEST, PUSHED.blobs))
    asked = {"repositoryName": NAME, "subjectId": {"imageDigest": DIGEST}, "maxResults": 2}
    pages, token = [], None
    while token != "":
        page = await registry.ecr("list_image_referrers", **asked, **({"nextToken": token} if token else {}))
        pages.append(page["referrers"])
        token = page.get("nextToken", "")
    only = await registry.ecr(
        "list_image_referrers", **asked, filter={"artifactTypes": ["application/vnd.kind1"], "artifactStatus": "ANY"}
    )
    none = await registry.ecr("list_image_referrers", **asked, filter={"artifactStatus": "ARCHIVED"})

    assert [len(page) for page in pages] == [2, 2, 1]
    first = next(one for one in pages[0] + pages[1] + pages[2] if one["annotations"] == {"n": "0"})
    assert first.keys() == {"digest", "mediaType", "artifactType", "size", "annotations", "artifactStatus"}
    assert {one["artifactType"] for one in only["referrers"]} == {"application/vnd.kind1"}
    assert none["referrers"] == []
    (subject,) = await details(registry, imageIds=[{"imageDigest": first["digest"]}])
    assert (subject["subjectManifestDigest"], subject["artifactMediaType"]) == (DIGEST, "application/vnd.kind0")


# --- caches -----------------------------------------------------------------------------------------------------------


async def test_an_image_and_its_layer_are_pulled_through(registry: Registry) -> None:
    upstream = registry.contents.upstream.repository("quay.io/app/web")
    upstream.put(RAW, "v1")
    upstream.put_blob(LAYER)
    name = "quay/app/web"
    answer = await registry.ecr("batch_get_image", repositoryName=name, imageIds=[{"imageTag": "v1"}])
    url = await registry.ecr("get_download_url_for_layer", repositoryName=name, layerDigest=str(Digest.of(LAYER)))
    gone = await registry.ecr("batch_delete_image", repositoryName=name, imageIds=[{"imageTag": "v1"}])

    assert [one["imageManifest"] for one in answer["images"]] == [RAW.decode()]
    assert await registry.fetch(url["downloadUrl"]) == (200, LAYER)
    assert gone["imageIds"] == [{"imageDigest": DIGEST, "imageTag": "v1"}]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UpstreamFailure.CREDENTIALS_REFUSED, "UpstreamAccessDenied"),
        (UpstreamFailure.RATE_LIMITED, "UpstreamTooManyRequests"),
        (UpstreamFailure.UNREACHABLE, "UpstreamUnavailable"),
    ],
)
async def test_an_upstream_that_fails_is_told_of_in_ecrs_words(
    registry: Registry, failure: UpstreamFailure, code: str
) -> None:
    registry.contents.upstream.fail(failure)
    name, ids = "quay/app/web", [{"imageTag": "v1"}, {"imageDigest": "latest"}]
    answer = await registry.ecr("batch_get_image", repositoryName=name, imageIds=ids)
    layer, _ = await registry.ecr.refused(
        "get_download_url_for_layer", repositoryName=name, layerDigest=str(Digest.of(LAYER))
    )
    referrers, _ = await registry.ecr.refused(
        "list_image_referrers", repositoryName=name, subjectId={"imageDigest": DIGEST}
    )

    assert {one["failureCode"]: one["imageId"] for one in answer["failures"]} == {
        code: {"imageTag": "v1"},
        "InvalidImageDigest": {"imageDigest": "latest"},
    }
    assert (layer, referrers) == ("UnableToGetUpstreamLayerException", "UnableToListUpstreamImageReferrersException")


async def test_a_cache_that_takes_no_pushes_says_so(registry: Registry) -> None:
    registry.contents.upstream.repository("quay.io/app/web").put(RAW, "v1")
    name = "quay/app/web"
    await registry.ecr("batch_get_image", repositoryName=name, imageIds=[{"imageTag": "v1"}])
    for operation, given in (
        ("put_image", {"imageManifest": RAW.decode(), "imageTag": "v2"}),
        ("initiate_layer_upload", {}),
    ):
        code, message = await registry.ecr.refused(operation, repositoryName=name, **given)
        assert (code, "push: allow" in message) == ("InvalidParameterException", True)


# --- refusals ---------------------------------------------------------------------------------------------------------

GIVEN: dict[str, dict[str, Any]] = {
    "list_images": {},
    "describe_images": {},
    "batch_get_image": {"imageIds": [{"imageTag": "v1"}]},
    "batch_delete_image": {"imageIds": [{"imageTag": "v1"}]},
    "put_image": {"imageManifest": RAW.decode()},
    "list_image_referrers": {"subjectId": {"imageDigest": DIGEST}},
    "batch_check_layer_availability": {"layerDigests": [DIGEST]},
    "initiate_layer_upload": {},
    "upload_layer_part": {
        "uploadId": "00000000-0000-4000-8000-000000000000",
        "partFirstByte": 0,
        "partLastByte": 0,
        "layerPartBlob": b"x",
    },
    "complete_layer_upload": {"uploadId": "00000000-0000-4000-8000-000000000000", "layerDigests": [DIGEST]},
    "get_download_url_for_layer": {"layerDigest": DIGEST},
}


@pytest.mark.parametrize("operation", GIVEN)
async def test_unknown_repositories_and_other_registries_are_not_found(registry: Registry, operation: str) -> None:
    given, missing = GIVEN[operation], "RepositoryNotFoundException"
    elsewhere = {"repositoryName": NAME, "registryId": "999999999999", **given}

    assert await registry.ecr.refused(operation, repositoryName="team/none", **given) == (missing, UNKNOWN)
    assert await registry.ecr.refused(operation, **elsewhere) == (
        missing,
        "The repository with name 'team/app' does not exist in the registry with id '999999999999'",
    )


async def test_refusals_of_images_are_in_ecrs_words(registry: Registry) -> None:
    await registry.push()
    same = {"repositoryName": NAME, "imageManifest": RAW.decode(), "imageTag": "v1"}
    missing = {**same, "imageManifest": image(CONFIG, b"nowhere").decode()}
    both = {"imageIds": [{"imageTag": "v1"}], "repositoryName": NAME, "maxResults": 5}

    assert await registry.ecr.refused("put_image", **same) == (
        "ImageAlreadyExistsException",
        (
            f"Image with digest '{DIGEST}' and tag 'v1' already exists in the repository with name 'team/app' in "
            f"registry with id '{ACCOUNT}'"
        ),
    )
    assert (await registry.ecr.refused("put_image", **missing))[0] == "LayersNotFoundException"
    assert (await registry.ecr.refused("put_image", **missing, imageDigest=DIGEST))[0] == (
        "ImageDigestDoesNotMatchException"
    )
    assert (await registry.ecr.refused("describe_images", **both))[0] == "InvalidParameterException"
    assert await registry.ecr.refused("describe_images", repositoryName=NAME, imageIds=[{"imageTag": "v2"}]) == (
        "ImageNotFoundException",
        (
            "The image with imageId {imageDigest:'null', imageTag:'v2'} does not exist within the repository with name "
            f"'team/app' in the registry with id '{ACCOUNT}'"
        ),
    )
    token = base64.urlsafe_b64encode(b"no digest").decode()
    code, message = await registry.ecr.refused("list_images", repositoryName=NAME, nextToken=token)
    assert (code, "'nextToken'" in message) == ("InvalidParameterException", True)


async def test_a_repository_that_was_just_made_has_no_images(ecr: Client) -> None:
    await ecr("create_repository", repositoryName=NAME)

    assert await ecr("list_images", repositoryName=NAME) == {"imageIds": []}
    assert await ecr("describe_images", repositoryName=NAME) == {"imageDetails": []}
