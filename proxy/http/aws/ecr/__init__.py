"""Amazon ECR's operations, one module a resource."""

from collections.abc import Mapping
from typing import Final

from proxy.http.aws.ecr import (
    authorization,
    images,
    layers,
    lifecycle,
    policies,
    refused,
    registry,
    repositories,
    resource_tags,
    rules,
    templates,
)
from proxy.http.aws.operations import Operation

OPERATIONS: Final[Mapping[str, Operation]] = {
    **authorization.OPERATIONS,
    **rules.OPERATIONS,
    **repositories.OPERATIONS,
    **images.OPERATIONS,
    **layers.OPERATIONS,
    **lifecycle.OPERATIONS,
    **templates.OPERATIONS,
    **policies.OPERATIONS,
    **resource_tags.OPERATIONS,
    **registry.OPERATIONS,
    **refused.OPERATIONS,
}
