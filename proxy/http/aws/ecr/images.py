"""The operations on images."""

from collections.abc import Iterable, Mapping
from typing import Final

from proxy.core.registry.image_ids import ImageFailure, ImageId
from proxy.core.registry.images import Image, NewImage
from proxy.core.registry.records import ImageRecord
from proxy.http.aws.ecr.members import named, tagged_given
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.http.aws.pages import DEFAULT, cut, key_before, refuse_pages, token_after
from proxy.model.access import Action
from proxy.model.descriptor import Descriptor
from proxy.model.reference import RepositoryName

_ACTIVE: Final = "ACTIVE"
"""The status of every image: none is ever archived."""

_REFERRERS_DEFAULT: Final = 20


async def list_images(call: ApiCall, given: Given) -> Answer:
    """List the ids of a page of images: one for each tag, or one without."""
    name, size = named(call, given), given.get("maxResults", DEFAULT)
    after = key_before(given.get("nextToken"))
    if not _wants_active(given, "imageStatus"):
        await call.services.images.page(name, "", 0)
        return {"imageIds": []}
    found, more = await call.services.images.ids(name, after, size, tagged=tagged_given(given))
    return {"imageIds": _ids_shown(found), "nextToken": token_after(more) if more is not None else None}


async def describe_images(call: ApiCall, given: Given) -> Answer:
    """Describe the images of the ids given, or a page of all."""
    name, images, tagged = named(call, given), call.services.images, tagged_given(given)
    wanted = given.get("imageIds")
    if wanted is not None:
        refuse_pages(given, "imageIds")
        records = await images.describe(name, _ids_given(wanted))
        records = [record for record in records if tagged in {None, bool(record.tags)}]
        return {"imageDetails": _details(call, name, records) if _wants_active(given, "imageStatus") else []}
    size = given.get("maxResults", DEFAULT)
    found = await images.page(name, key_before(given.get("nextToken")), size + 1, tagged=tagged)
    if not _wants_active(given, "imageStatus"):
        return {"imageDetails": []}
    page, token = cut(found, size, lambda record: str(record.digest))
    return {"imageDetails": _details(call, name, page), "nextToken": token}


async def batch_get_image(call: ApiCall, given: Given) -> Answer:
    """Return images with their manifests, byte for byte; what a cache does not hold is pulled through."""
    name = named(call, given)
    found, failures = await call.services.images.get(name, _ids_given(given["imageIds"]), may_fetch=call.may_fetch)
    call.withheld.extend(str(failure.id.tag or failure.id.digest) for failure in failures if failure.withheld)
    return {"images": [_shown(call, name, image) for image in found], "failures": _failures_shown(failures)}


async def batch_delete_image(call: ApiCall, given: Given) -> Answer:
    """Remove tags, and images."""
    gone, failures = await call.services.images.delete(named(call, given), _ids_given(given["imageIds"]))
    return {"imageIds": _ids_shown(gone), "failures": _failures_shown(failures)}


async def put_image(call: ApiCall, given: Given) -> Answer:
    """Keep a manifest, and point a tag to it."""
    name = named(call, given)
    image = NewImage(
        given["imageManifest"].encode(),
        given.get("imageManifestMediaType"),
        given.get("imageTag"),
        given.get("imageDigest"),
    )
    return {"image": _shown(call, name, await call.services.images.put(name, image, may_fetch=call.may_fetch))}


async def list_image_referrers(call: ApiCall, given: Given) -> Answer:
    """List a page of what refers to an image: signatures, attestations, bills of material."""
    name, size = named(call, given), given.get("maxResults", _REFERRERS_DEFAULT)
    after, types = key_before(given.get("nextToken")), given.get("filter", {}).get("artifactTypes", [])
    if not _wants_active(given, "artifactStatus"):
        await call.services.images.page(name, "", 0)
        return {"referrers": []}
    subject = given["subjectId"]["imageDigest"]
    found, more = await call.services.images.referrers(name, subject, types, after, size, may_fetch=call.may_fetch)
    return {
        "referrers": [_referrer_shown(referrer) for referrer in found],
        "nextToken": token_after(more) if more is not None else None,
    }


def _wants_active(given: Given, member: str) -> bool:
    return given.get("filter", {}).get(member, _ACTIVE) in {_ACTIVE, "ANY"}


def _ids_given(ids: Iterable[Mapping[str, str]]) -> list[ImageId]:
    return [ImageId(one.get("imageDigest"), one.get("imageTag")) for one in ids]


def _id_shown(image: ImageId) -> Answer:
    return {"imageDigest": image.digest, "imageTag": image.tag}


def _ids_shown(images: Iterable[ImageId]) -> list[Answer]:
    return [_id_shown(image) for image in images]


def _failures_shown(failures: Iterable[ImageFailure]) -> list[Answer]:
    return [
        {"imageId": _id_shown(one.id), "failureCode": one.code.value, "failureReason": one.reason} for one in failures
    ]


def _shown(call: ApiCall, name: RepositoryName, image: Image) -> Answer:
    return {
        "registryId": call.identity.account,
        "repositoryName": name,
        "imageId": _id_shown(image.id),
        "imageManifest": image.manifest.decode(),
        "imageManifestMediaType": image.media_type,
    }


def _details(call: ApiCall, name: RepositoryName, records: Iterable[ImageRecord]) -> list[Answer]:
    return [
        {
            "registryId": call.identity.account,
            "repositoryName": name,
            "imageDigest": str(record.digest),
            "imageTags": list(record.tags) or None,
            "imageSizeInBytes": record.content_size,
            "imagePushedAt": record.pushed_at,
            "imageManifestMediaType": record.media_type,
            "artifactMediaType": record.artifact_type,
            "lastRecordedPullTime": record.pulled_at,
            "subjectManifestDigest": str(record.subject) if record.subject is not None else None,
            "imageStatus": _ACTIVE,
        }
        for record in records
    ]


def _referrer_shown(referrer: Descriptor) -> Answer:
    return {
        "digest": str(referrer.digest),
        "mediaType": referrer.media_type,
        "artifactType": referrer.artifact_type or None,
        "size": referrer.size,
        "annotations": dict(referrer.annotations) or None,
        "artifactStatus": _ACTIVE,
    }


_ALWAYS_ACTIVE = "Images are never archived: all are ACTIVE."

OPERATIONS: Final[Mapping[str, Operation]] = {
    "ListImages": Operation(list_images, differences=_ALWAYS_ACTIVE, action=Action.PULL),
    "DescribeImages": Operation(
        describe_images,
        differences=f"{_ALWAYS_ACTIVE} Images are not scanned. imageSizeInBytes of an index is that of its largest "
        "image that is held here. Pulls are written down within seconds.",
        action=Action.PULL,
    ),
    "BatchGetImage": Operation(
        batch_get_image,
        differences="Manifests are never converted, whatever acceptedMediaTypes says. Of a cache, upstream failures "
        "are told of each image, never by UnableToGetUpstreamImageException. At most 16 MiB of manifests are in one "
        "answer: beyond that it is LimitExceededException. Without `first_pull`, what is not kept is a failure "
        "UpstreamAccessDenied.",
        action=Action.PULL,
    ),
    "BatchDeleteImage": Operation(
        batch_delete_image,
        differences="An index and its images go together where one request names them all. An image with its last tag "
        "gone stays, untagged, while an index names it.",
        action=Action.DELETE,
    ),
    "PutImage": Operation(
        put_image,
        differences="A cache takes images only where its rule says `push: allow`. Tags have at most 128 characters, as "
        "the OCI distribution specification says.",
        action=Action.PUSH,
    ),
    "ListImageReferrers": Operation(
        list_image_referrers, differences="Artifacts are never archived: all are ACTIVE.", action=Action.PULL
    ),
}
