"""Secrets as a whole: make, describe, change, delete, restore, list and tag them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from proxy.core.registry.records import SecretRecord
from proxy.core.registry.secrets.administration import NewSecret, SecretFilter
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation, State
from proxy.http.aws.pages import DEFAULT, cut, key_before
from proxy.http.aws.secretsmanager.members import names_shown, value_given
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid

_ORDERS: Final[Mapping[str, Callable[[SecretRecord], float | str]]] = {
    "created-date": lambda record: record.created_at,
    "last-changed-date": lambda record: record.changed_at,
    "last-accessed-date": lambda record: record.created_at,  # not kept
    "name": lambda record: record.name,
}

_Place = tuple[float | str, str]
"""Where a secret is in a list: by what orders it, then by its name."""


async def create_secret(call: ApiCall, given: Given) -> Answer:
    """Make a secret, with its first version where it has a value."""
    _refuse(given, "AddReplicaRegions", "CrossAccountPrimaryARN", "Type")
    record, version = await call.services.secrets.create(
        NewSecret(
            name=given["Name"],
            token=given.get("ClientRequestToken"),
            value=value_given(given),
            description=given.get("Description"),
            kms_key=given.get("KmsKeyId"),
            resource_tags=_tags(given.get("Tags", [])),
        )
    )
    return names_shown(call, record) | {"VersionId": version.id if version is not None else None}


async def describe_secret(call: ApiCall, given: Given) -> Answer:
    """Tell everything about a secret but its value."""
    record = await call.services.secrets.describe(given["SecretId"])
    return _details(call, record) | {"VersionIdsToStages": _stages(record)}


async def update_secret(call: ApiCall, given: Given) -> Answer:
    """Change description, key or value."""
    _refuse(given, "Type")
    record, version = await call.services.secrets.update(
        given["SecretId"],
        given.get("ClientRequestToken"),
        value_given(given),
        given.get("Description"),
        given.get("KmsKeyId"),
    )
    return names_shown(call, record) | {"VersionId": version.id if version is not None else None}


async def delete_secret(call: ApiCall, given: Given) -> Answer:
    """Mark a secret for deletion, or delete it at once."""
    record = await call.services.secrets.delete(
        given["SecretId"],
        given.get("RecoveryWindowInDays"),
        force=given.get("ForceDeleteWithoutRecovery", False),
    )
    return names_shown(call, record) | {"DeletionDate": record.deleted_at}


async def restore_secret(call: ApiCall, given: Given) -> Answer:
    """Take back the deletion of a secret."""
    return names_shown(call, await call.services.secrets.restore(given["SecretId"]))


async def list_secrets(call: ApiCall, given: Given) -> Answer:
    """List secrets, without values."""
    wanted = given.get("Filters", [])
    _require_each("Filters", wanted, "Key", "Values")
    filters = [SecretFilter(entry["Key"], tuple(entry["Values"])) for entry in wanted]
    found = await call.services.secrets.search(filters, marked=given.get("IncludePlannedDeletion", False))
    order, descending = _ORDERS[given.get("SortBy", "created-date")], given.get("SortOrder") == "desc"

    def place(record: SecretRecord) -> _Place:
        return order(record), record.name

    found.sort(key=place, reverse=descending)
    after = _place_before(given.get("NextToken"))
    if after is not None:
        found = [record for record in found if _is_behind(place(record), after, descending=descending)]
    size = given.get("MaxResults", DEFAULT)
    page, token = cut(found, size, lambda record: json.dumps(place(record)))
    return {
        "SecretList": [_details(call, record) | {"SecretVersionsToStages": _stages(record)} for record in page],
        "NextToken": token,
    }


async def tag_resource(call: ApiCall, given: Given) -> Answer:
    """Add tags to a secret."""
    await call.services.secrets.tag(given["SecretId"], _tags(given["Tags"]))
    return {}


async def untag_resource(call: ApiCall, given: Given) -> Answer:
    """Remove tags from a secret."""
    await call.services.secrets.tag(given["SecretId"], {}, given["TagKeys"])
    return {}


def _details(call: ApiCall, record: SecretRecord) -> Answer:
    return names_shown(call, record) | {
        "Description": record.description,
        "KmsKeyId": record.kms_key,
        "LastChangedDate": record.changed_at,
        "DeletedDate": record.deleted_at,
        "Tags": [{"Key": key, "Value": value} for key, value in record.resource_tags.items()] or None,
        "CreatedDate": record.created_at,
    }


def _stages(record: SecretRecord) -> dict[str, tuple[str, ...]] | None:
    return {version.id: version.stages for version in record.versions if version.stages} or None


def _tags(given: list[dict[str, str]]) -> dict[str, str]:
    _require_each("Tags", given, "Key")
    return {tag["Key"]: tag.get("Value", "") for tag in given}


def _require_each(member: str, entries: Sequence[Given], *names: str) -> None:
    """Raise `ApiError` for an entry without what only the service, not its model, requires."""
    for place, entry in enumerate(entries, start=1):
        missing = next((name for name in names if name not in entry), None)
        if missing is not None:
            raise invalid(f"{member}.{place}.member.{missing}", "Member must not be null")


def _refuse(given: Given, *members: str) -> None:
    refused = next((member for member in members if given.get(member)), None)
    if refused is not None:
        raise ApiError(ApiErrorCode.InvalidParameterException, f"This registry does not offer {refused}.")


def _place_before(token: str | None) -> _Place | None:
    try:
        text = key_before(token)
        if not text:
            return None
        value, name = json.loads(text)
    except (ApiError, ValueError, TypeError):
        raise ApiError(ApiErrorCode.InvalidNextTokenException) from None
    if not isinstance(value, (str, float, int)) or not isinstance(name, str):
        raise ApiError(ApiErrorCode.InvalidNextTokenException)
    return value, name


def _is_behind(place: _Place, after: _Place, *, descending: bool) -> bool:
    try:
        return place < after if descending else place > after
    except TypeError:
        # A token of a list in another order.
        raise ApiError(ApiErrorCode.InvalidNextTokenException) from None


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateSecret": Operation(
        create_secret,
        differences="`KmsKeyId` is kept and returned: values are sealed with the registry's own key. Replicas in other "
        "regions are refused.",
    ),
    "DescribeSecret": Operation(describe_secret, differences="There is no rotation, and no date of the last access."),
    "UpdateSecret": Operation(update_secret),
    "DeleteSecret": Operation(delete_secret),
    "RestoreSecret": Operation(restore_secret),
    "ListSecrets": Operation(list_secrets),
    "TagResource": Operation(tag_resource, State.KEPT),
    "UntagResource": Operation(untag_resource, State.KEPT),
}
