"""The operations on repositories themselves."""

from collections.abc import Mapping
from typing import Final

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.records import Encryption
from proxy.core.registry.repositories import NewRepository, chosen_policy
from proxy.core.registry.resource_tags import checked_tags
from proxy.http.aws.ecr.members import (
    encryption_given,
    encryption_shown,
    mutability_given,
    mutability_shown,
    name_given,
    named,
    resource_tags_given,
)
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation, State
from proxy.http.aws.pages import DEFAULT, cut, key_before, refuse_pages
from proxy.model.access import Action
from proxy.model.tag_policy import TagPolicy


async def create_repository(call: ApiCall, given: Given) -> Answer:
    """Make a repository."""
    call.identity.require(given.get("registryId"))
    asked = NewRepository(
        name_given(given),
        tag_policy=chosen_policy(*mutability_given(given)),
        encryption=encryption_given(given) or Encryption(),
        scan_on_push=given.get("imageScanningConfiguration", {}).get("scanOnPush", False),
        resource_tags=checked_tags(resource_tags_given(given.get("tags", []))),
    )
    return {"repository": _shown(call, await call.services.repositories.create(asked))}


async def describe_repositories(call: ApiCall, given: Given) -> Answer:
    """Describe the repositories of the names given, or a page of all that the caller may see."""
    repositories, names = call.services.repositories, given.get("repositoryNames")
    if names is not None:
        refuse_pages(given, "repositoryNames")
        wanted = [named(call, {**given, "repositoryName": name}) for name in names]
        return {"repositories": [_shown(call, record) for record in await repositories.describe(wanted)]}
    call.identity.require(given.get("registryId"))
    size = given.get("maxResults", DEFAULT)
    found = await repositories.page(key_before(given.get("nextToken")), size + 1, call.visible, call.spans)
    page, token = cut(found, size, lambda record: record.name)
    return {"repositories": [_shown(call, record) for record in page], "nextToken": token}


async def delete_repository(call: ApiCall, given: Given) -> Answer:
    """Remove a repository, with its images only where that is forced."""
    removed = await call.services.repositories.delete(named(call, given), force=given.get("force", False))
    return {"repository": _shown(call, removed)}


async def put_image_tag_mutability(call: ApiCall, given: Given) -> Answer:
    """Change which tags of a repository are kept from moving."""
    name, policy = named(call, given), chosen_policy(*mutability_given(given)) or TagPolicy()
    await call.services.repositories.set_tag_policy(name, policy)
    return {"registryId": call.identity.account, "repositoryName": name, **mutability_shown(policy)}


async def put_image_scanning_configuration(call: ApiCall, given: Given) -> Answer:
    """Keep whether images are to be scanned."""
    name, on_push = named(call, given), given["imageScanningConfiguration"].get("scanOnPush", False)
    await call.services.repositories.set_scanning(name, on_push=on_push)
    return {
        "registryId": call.identity.account,
        "repositoryName": name,
        "imageScanningConfiguration": {"scanOnPush": on_push},
    }


def _shown(call: ApiCall, record: RepositoryRecord) -> Answer:
    return {
        "repositoryArn": call.identity.arn(record.name),
        "registryId": call.identity.account,
        "repositoryName": record.name,
        "repositoryUri": f"{call.host}/{record.name}",
        "createdAt": record.created_at,
        **mutability_shown(record.tag_policy or TagPolicy()),
        "imageScanningConfiguration": {"scanOnPush": record.details.scan_on_push},
        "encryptionConfiguration": encryption_shown(record.details.encryption),
    }


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateRepository": Operation(
        create_repository,
        differences="Names have at most 255 characters. With `relaxed`, a name by which clients reach another "
        "repository (`library/nginx` by `nginx`) is an InvalidParameterException. Encryption and scanning are kept "
        "and returned; nothing is encrypted or scanned. Without imageTagMutability the configuration's "
        "`registry.tags` say what tags may do.",
    ),
    "DescribeRepositories": Operation(
        describe_repositories,
        differences="Without names, those are listed that the caller may pull.",
        action=Action.PULL,
        lists=True,
    ),
    "DeleteRepository": Operation(delete_repository),
    "PutImageTagMutability": Operation(put_image_tag_mutability),
    "PutImageScanningConfiguration": Operation(put_image_scanning_configuration, State.KEPT, "Images are not scanned."),
}
