"""Members that the requests and answers of several operations have, between ECR's shape and core's."""

from collections.abc import Mapping

from proxy.core.registry.records import Encryption
from proxy.http.aws.operations import Answer, ApiCall, Given
from proxy.model.api_errors import invalid
from proxy.model.errors import ProxyError
from proxy.model.reference import RepositoryName, parse_repository
from proxy.model.tag_policy import TagMutability, TagPolicy


def named(call: ApiCall, given: Given) -> RepositoryName:
    """Return the repository that a request names; `ApiError` where it is in another registry."""
    name = name_given(given)
    registry = given.get("registryId")
    if registry not in {None, call.identity.account}:
        raise call.identity.unknown(name, registry)
    return name


def name_given(given: Given) -> RepositoryName:
    """Return the name of a repository in a request; `ApiError` for one that ECR takes and no image can have."""
    try:
        return parse_repository(given["repositoryName"])
    except ProxyError as error:
        raise invalid("repositoryName", error.message) from error


def tagged_given(given: Given) -> bool | None:
    """Return whether a request is about images with tags, or (False) without; None where it is about both."""
    return {"TAGGED": True, "UNTAGGED": False}.get(given.get("filter", {}).get("tagStatus", "ANY"))


def resource_tags_given(given: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Return resource tags as core takes them."""
    return [(tag["Key"], tag["Value"]) for tag in given]


def resource_tags_shown(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return resource tags as AWS writes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def mutability_given(given: Given) -> tuple[TagMutability | None, list[str] | None]:
    """Return the mode of tags and its filters, each None where the request does not speak of it."""
    mode, filters = given.get("imageTagMutability"), given.get("imageTagMutabilityExclusionFilters")
    return (
        TagMutability(mode) if mode is not None else None,
        [entry["filter"] for entry in filters] if filters is not None else None,
    )


def mutability_shown(policy: TagPolicy) -> Answer:
    """Return a tag policy as ECR writes it; filters only where there are some."""
    filters = [{"filterType": "WILDCARD", "filter": pattern} for pattern in policy.filters]
    return {"imageTagMutability": policy.mutability.value, "imageTagMutabilityExclusionFilters": filters or None}


def encryption_given(given: Given) -> Encryption | None:
    """Return the encryption that a request asks for, or None."""
    asked = given.get("encryptionConfiguration")
    return None if asked is None else Encryption(asked["encryptionType"], asked.get("kmsKey") or None)


def encryption_shown(encryption: Encryption) -> Answer:
    """Return an encryption as ECR writes it."""
    return {"encryptionType": encryption.type, "kmsKey": encryption.kms_key}
