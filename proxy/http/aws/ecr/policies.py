"""The operations on policies of repositories and of the registry."""

from collections.abc import Mapping
from typing import Final

from proxy.http.aws.ecr.members import named
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation, State
from proxy.model.reference import RepositoryName


async def set_repository_policy(call: ApiCall, given: Given) -> Answer:
    """Give a repository a policy."""
    name, text = named(call, given), given["policyText"]
    await call.services.policies.set_repository_policy(name, text)
    return _of_repository(call, name, text)


async def get_repository_policy(call: ApiCall, given: Given) -> Answer:
    """Show the policy of a repository."""
    name = named(call, given)
    return _of_repository(call, name, await call.services.policies.repository_policy(name))


async def delete_repository_policy(call: ApiCall, given: Given) -> Answer:
    """Remove the policy of a repository."""
    name = named(call, given)
    return _of_repository(call, name, await call.services.policies.delete_repository_policy(name))


async def put_registry_policy(call: ApiCall, given: Given) -> Answer:
    """Give the registry a policy."""
    await call.services.policies.set_registry_policy(given["policyText"])
    return _of_registry(call, given["policyText"])


async def get_registry_policy(call: ApiCall, _given: Given) -> Answer:
    """Show the policy of the registry."""
    return _of_registry(call, await call.services.policies.registry_policy())


async def delete_registry_policy(call: ApiCall, _given: Given) -> Answer:
    """Remove the policy of the registry."""
    return _of_registry(call, await call.services.policies.delete_registry_policy())


def _of_repository(call: ApiCall, name: RepositoryName, text: str) -> Answer:
    return {"registryId": call.identity.account, "repositoryName": name, "policyText": text}


def _of_registry(call: ApiCall, text: str) -> Answer:
    return {"registryId": call.identity.account, "policyText": text}


_WHERE_ENFORCED = "The policy decides on requests where `auth` is set; otherwise it is validated, kept and returned."

OPERATIONS: Final[Mapping[str, Operation]] = {
    "SetRepositoryPolicy": Operation(
        set_repository_policy,
        State.ACTS,
        f"{_WHERE_ENFORCED} `force` changes nothing: who is locked out sets another policy by the command line. "
        "A refusal names its reason.",
    ),
    "GetRepositoryPolicy": Operation(get_repository_policy),
    "DeleteRepositoryPolicy": Operation(delete_repository_policy),
    "PutRegistryPolicy": Operation(put_registry_policy, State.ACTS, f"{_WHERE_ENFORCED} A refusal names its reason."),
    "GetRegistryPolicy": Operation(get_registry_policy),
    "DeleteRegistryPolicy": Operation(delete_registry_policy),
}
