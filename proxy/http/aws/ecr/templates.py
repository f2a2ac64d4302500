"""The operations on repository creation templates."""

from collections.abc import Mapping, Sequence
from typing import Final

from proxy.core.registry.records import Scenario, TemplateRecord
from proxy.core.registry.templates import TemplateSettings
from proxy.http.aws.ecr.members import (
    encryption_given,
    encryption_shown,
    mutability_given,
    mutability_shown,
    resource_tags_given,
    resource_tags_shown,
)
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.http.aws.pages import DEFAULT, cut, key_before, refuse_pages


async def create_repository_creation_template(call: ApiCall, given: Given) -> Answer:
    """Make a template."""
    return _answer(call, await call.services.templates.create(given["prefix"], _settings(given)))


async def describe_repository_creation_templates(call: ApiCall, given: Given) -> Answer:
    """Describe the templates of the prefixes given, or a page of all."""
    templates, prefixes = call.services.templates, given.get("prefixes")
    if prefixes:
        refuse_pages(given, "prefixes")
        return _page(call, await templates.describe(prefixes))
    after, size = key_before(given.get("nextToken")), given.get("maxResults", DEFAULT)
    found = [record for record in await templates.describe() if record.key > after]
    page, token = cut(found, size, lambda record: record.key)
    return _page(call, page) | {"nextToken": token}


async def update_repository_creation_template(call: ApiCall, given: Given) -> Answer:
    """Change what is sent of a template."""
    return _answer(call, await call.services.templates.update(given["prefix"], _settings(given)))


async def delete_repository_creation_template(call: ApiCall, given: Given) -> Answer:
    """Remove a template."""
    return _answer(call, await call.services.templates.delete(given["prefix"]))


def _settings(given: Given) -> TemplateSettings:
    scenarios, tags = given.get("appliedFor"), given.get("resourceTags")
    mutability, filters = mutability_given(given)
    return TemplateSettings(
        applied_for=None if scenarios is None else tuple(map(Scenario, scenarios)),
        description=given.get("description"),
        encryption=encryption_given(given),
        resource_tags=None if tags is None else resource_tags_given(tags),
        mutability=mutability,
        filters=filters,
        repository_policy=given.get("repositoryPolicy"),
        lifecycle_policy=given.get("lifecyclePolicy"),
        custom_role_arn=given.get("customRoleArn"),
    )


def _answer(call: ApiCall, record: TemplateRecord) -> Answer:
    return {"registryId": call.identity.account, "repositoryCreationTemplate": _shown(record)}


def _page(call: ApiCall, records: Sequence[TemplateRecord]) -> Answer:
    return {
        "registryId": call.identity.account,
        "repositoryCreationTemplates": [_shown(record) for record in records],
    }


def _shown(record: TemplateRecord) -> Answer:
    return {
        "prefix": record.prefix,
        "description": record.description,
        "encryptionConfiguration": encryption_shown(record.encryption),
        "resourceTags": resource_tags_shown(record.resource_tags) or None,
        **mutability_shown(record.tag_policy),
        "repositoryPolicy": record.repository_policy,
        "lifecyclePolicy": record.lifecycle_policy,
        "appliedFor": [scenario.value for scenario in record.applied_for],
        "customRoleArn": record.custom_role_arn,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
    }


_WITHOUT_ROLES = "customRoleArn is kept and returned: resource tags and encryption need no role here."

OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateRepositoryCreationTemplate": Operation(
        create_repository_creation_template,
        differences=f"{_WITHOUT_ROLES} Nothing is replicated to this registry, so REPLICATION has no effect.",
    ),
    "DescribeRepositoryCreationTemplates": Operation(describe_repository_creation_templates),
    "UpdateRepositoryCreationTemplate": Operation(
        update_repository_creation_template,
        differences="Empty texts and lists take away what was there; what is not sent stays, imageTagMutability too.",
    ),
    "DeleteRepositoryCreationTemplate": Operation(delete_repository_creation_template),
}
