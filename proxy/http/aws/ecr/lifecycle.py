"""The operations on lifecycle policies and their previews."""

from collections.abc import Iterable, Mapping
from typing import Final

from proxy.core.registry.lifecycle.policy import ActionType
from proxy.core.registry.lifecycle.previews import Preview, PreviewedImage, PreviewStatus
from proxy.http.aws.ecr.members import named, tagged_given
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.http.aws.pages import DEFAULT, key_before, refuse_pages, token_after
from proxy.model.api_errors import invalid
from proxy.model.reference import RepositoryName


async def put_lifecycle_policy(call: ApiCall, given: Given) -> Answer:
    """Give a repository a policy."""
    name, text = named(call, given), given["lifecyclePolicyText"]
    await call.services.lifecycle.put(name, text)
    return _shown(call, name, text)


async def get_lifecycle_policy(call: ApiCall, given: Given) -> Answer:
    """Return the policy of a repository, as it was given."""
    name = named(call, given)
    kept = await call.services.lifecycle.get(name)
    return {**_shown(call, name, kept.text), "lastEvaluatedAt": kept.evaluated_at}


async def delete_lifecycle_policy(call: ApiCall, given: Given) -> Answer:
    """Take its policy from a repository."""
    name = named(call, given)
    kept = await call.services.lifecycle.delete(name)
    return {**_shown(call, name, kept.text), "lastEvaluatedAt": kept.evaluated_at}


async def start_lifecycle_policy_preview(call: ApiCall, given: Given) -> Answer:
    """Begin to find out what a policy would do: the one given, or the repository's own."""
    name = named(call, given)
    preview = await call.services.lifecycle.start_preview(name, given.get("lifecyclePolicyText"))
    return {**_shown(call, name, preview.text), "status": preview.status.value}


async def get_lifecycle_policy_preview(call: ApiCall, given: Given) -> Answer:
    """Return what the last preview has found: a page of it, or the images given."""
    name, wanted = named(call, given), given.get("imageIds")
    if wanted is not None:
        refuse_pages(given, "imageIds")
    preview = await call.services.lifecycle.preview(name)
    answer: Answer = {**_shown(call, name, preview.text), "status": preview.status.value}
    if preview.status is not PreviewStatus.COMPLETE:
        return answer
    tagged = tagged_given(given)
    chosen = [image for image in preview.images if tagged in {None, bool(image.tags)}]
    if wanted is not None:
        page, token = [image for image in chosen if _is_one_of(image, wanted)], None
    else:
        page, token = _page(preview, chosen, given)
    return {
        **answer,
        "previewResults": [_result(image) for image in page],
        "nextToken": token,
        "summary": _summary(preview),
    }


def _page(preview: Preview, images: list[PreviewedImage], given: Given) -> tuple[list[PreviewedImage], str | None]:
    begin, key = 0, key_before(given.get("nextToken"))
    if key:
        # A page of another preview would have holes, or images twice.
        of, _, place = key.partition("/")
        if of != preview.id or not place.isdecimal():
            raise invalid("nextToken", "it is none of the repository's last preview")
        begin = int(place)
    end = begin + given.get("maxResults", DEFAULT)
    return images[begin:end], token_after(f"{preview.id}/{end}") if end < len(images) else None


def _is_one_of(image: PreviewedImage, wanted: Iterable[Mapping[str, str]]) -> bool:
    return any(
        one.get("imageDigest", image.digest) == image.digest
        and ("imageTag" not in one or one["imageTag"] in image.tags)
        for one in wanted
        if one
    )


def _result(image: PreviewedImage) -> Answer:
    target = "ARCHIVE" if image.action is ActionType.TRANSITION else None
    return {
        "imageTags": list(image.tags) or None,
        "imageDigest": image.digest,
        "imagePushedAt": image.pushed_at,
        "action": {"type": image.action.name, "targetStorageClass": target},
        "appliedRulePriority": image.priority,
        "storageClass": "STANDARD",
    }


def _summary(preview: Preview) -> Answer:
    expiring = sum(image.action is ActionType.EXPIRE for image in preview.images)
    moving = len(preview.images) - expiring
    return {
        "expiringImageTotalCount": expiring,
        "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": moving}]
        if moving
        else None,
    }


def _shown(call: ApiCall, name: RepositoryName, text: str) -> Answer:
    return {"registryId": call.identity.account, "repositoryName": name, "lifecyclePolicyText": text}


_RULES: Final = (
    "Images that an index names, and artifacts without tags whose subject is there, are seen by no rule and go, if "
    "they have no tags, with the last of what they hang on. Nothing is archived: transition rules are checked and "
    "previewed, and leave images where they are."
)

OPERATIONS: Final[Mapping[str, Operation]] = {
    "PutLifecyclePolicy": Operation(
        put_lifecycle_policy,
        differences=f"{_RULES} Unless the registry follows ECR to the letter, sinceImagePulled also goes with expire.",
    ),
    "GetLifecyclePolicy": Operation(get_lifecycle_policy),
    "DeleteLifecyclePolicy": Operation(delete_lifecycle_policy),
    "StartLifecyclePolicyPreview": Operation(start_lifecycle_policy_preview, differences=_RULES),
    "GetLifecyclePolicyPreview": Operation(get_lifecycle_policy_preview),
}
