"""The operations on key-value tags of repositories."""

from collections.abc import Mapping
from typing import Final

from proxy.http.aws.ecr.members import resource_tags_given, resource_tags_shown
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.model.access import Action


async def tag_resource(call: ApiCall, given: Given) -> Answer:
    """Add tags, or give them other values."""
    await call.services.resource_tags.tag(given["resourceArn"], resource_tags_given(given["tags"]))
    return {}


async def untag_resource(call: ApiCall, given: Given) -> Answer:
    """Take tags away."""
    await call.services.resource_tags.untag(given["resourceArn"], given["tagKeys"])
    return {}


async def list_tags_for_resource(call: ApiCall, given: Given) -> Answer:
    """Show the tags."""
    return {"tags": resource_tags_shown(await call.services.resource_tags.tags_of(given["resourceArn"]))}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "TagResource": Operation(tag_resource),
    "UntagResource": Operation(untag_resource),
    "ListTagsForResource": Operation(list_tags_for_resource, action=Action.PULL),
}
