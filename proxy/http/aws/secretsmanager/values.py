"""What secrets hold: versions, their values and their stages."""

from collections.abc import Mapping
from typing import Final

from proxy.core.registry.secrets.versions import DEPRECATED
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.http.aws.pages import DEFAULT, cut, key_before
from proxy.http.aws.secretsmanager.members import names_shown, value_given
from proxy.model.api_errors import ApiError, ApiErrorCode


async def get_secret_value(call: ApiCall, given: Given) -> Answer:
    """Return what a version holds."""
    record, version, value = await call.services.secrets.value(
        given["SecretId"], given.get("VersionId"), given.get("VersionStage")
    )
    return {
        **names_shown(call, record),
        "VersionId": version.id,
        "SecretBinary": value.data if value.binary else None,
        "SecretString": None if value.binary else value.data.decode(),
        "VersionStages": version.stages or None,
        "CreatedDate": version.created_at,
    }


async def put_secret_value(call: ApiCall, given: Given) -> Answer:
    """Make a version."""
    record, version = await call.services.secrets.put_value(
        given["SecretId"], given.get("ClientRequestToken"), value_given(given), given.get("VersionStages", [])
    )
    return {
        **names_shown(call, record),
        "VersionId": version.id,
        "VersionStages": version.stages or None,
    }


async def list_secret_version_ids(call: ApiCall, given: Given) -> Answer:
    """List versions, with `IncludeDeprecated` also those without a stage."""
    record = await call.services.secrets.describe(given["SecretId"])
    deprecated = given.get("IncludeDeprecated", False)
    found = sorted(
        (version for version in record.versions if version.stages or deprecated), key=lambda version: version.id
    )
    try:
        after = key_before(given.get("NextToken"))
    except ApiError:
        raise ApiError(ApiErrorCode.InvalidNextTokenException) from None
    found = [version for version in found if version.id > after]
    size = given.get("MaxResults", DEFAULT)
    page, token = cut(found, size, lambda version: version.id)
    return {
        **names_shown(call, record),
        "Versions": [
            {"VersionId": version.id, "VersionStages": version.stages or None, "CreatedDate": version.created_at}
            for version in page
        ],
        "NextToken": token,
    }


async def update_secret_version_stage(call: ApiCall, given: Given) -> Answer:
    """Move a stage from one version to another."""
    record = await call.services.secrets.move_stage(
        given["SecretId"], given["VersionStage"], given.get("RemoveFromVersionId"), given.get("MoveToVersionId")
    )
    return names_shown(call, record)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GetSecretValue": Operation(get_secret_value),
    "PutSecretValue": Operation(
        put_secret_value, differences=f"Of versions without a stage the newest {DEPRECATED} are kept."
    ),
    "ListSecretVersionIds": Operation(list_secret_version_ids),
    "UpdateSecretVersionStage": Operation(update_secret_version_stage),
}
