"""Resource policies of secrets: kept for those who declare them."""

from collections.abc import Mapping
from typing import Final

from proxy.core.registry.records import SecretRecord
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation, State
from proxy.http.aws.secretsmanager.members import names_shown
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid

_KEPT = "The policy is kept and returned; it governs nothing."

_ONLY: Final = "default"
"""The name of the only policy that a secret may have."""


async def get_resource_policy(call: ApiCall, given: Given) -> Answer:
    """Return the policy of a secret, if it has one."""
    record = await call.services.secrets.policy(given["SecretId"])
    name = given.get("PolicyName", _ONLY)
    if name != _ONLY:
        sentence = f"Secrets Manager can't find the resource policy {name} of the secret."
        raise ApiError(ApiErrorCode.ResourceNotFoundException, sentence)
    if record.policy is None:
        return names_shown(call, record)
    return _shown(call, record) | {"ResourcePolicy": record.policy}


async def put_resource_policy(call: ApiCall, given: Given) -> Answer:
    """Keep a policy."""
    _require_only(given)
    return _shown(call, await call.services.secrets.set_policy(given["SecretId"], given["ResourcePolicy"]))


async def delete_resource_policy(call: ApiCall, given: Given) -> Answer:
    """Remove the policy of a secret."""
    _require_only(given)
    return _shown(call, await call.services.secrets.set_policy(given["SecretId"], None))


def _shown(call: ApiCall, record: SecretRecord) -> Answer:
    return names_shown(call, record) | {"PolicyName": _ONLY}


def _require_only(given: Given) -> None:
    if given.get("PolicyName", _ONLY) != _ONLY:
        raise invalid("PolicyName", f"the only policy of a secret is {_ONLY}")


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GetResourcePolicy": Operation(get_resource_policy, State.KEPT),
    "PutResourcePolicy": Operation(put_resource_policy, State.KEPT, f"{_KEPT} `BlockPublicPolicy` is not looked at."),
    "DeleteResourcePolicy": Operation(delete_resource_policy, State.KEPT),
}
