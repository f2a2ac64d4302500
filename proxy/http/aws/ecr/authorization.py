"""The operation by which clients get a password for ``docker login``."""

from collections.abc import Mapping
from typing import Final

from proxy.http.aws.operations import Answer, ApiCall, Given, Operation


async def get_authorization_token(call: ApiCall, given: Given) -> Answer:
    """Give the caller a password: one entry for each registry that it names, which can only be this one."""
    registries = given.get("registryIds", [call.identity.account])
    for registry in registries:
        call.identity.require(registry)
    return {"authorizationData": [_entry(call) for _ in registries]}


def _entry(call: ApiCall) -> Answer:
    password = call.services.passwords.issue(call.principal)
    return {
        "authorizationToken": password.token,
        "expiresAt": password.expires_at,
        "proxyEndpoint": call.endpoint,
    }


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GetAuthorizationToken": Operation(
        get_authorization_token,
        differences="proxyEndpoint is the address of this registry, with the scheme that it serves. Whoever is known "
        "may ask; the password is good for what its caller may do when it is used.",
        action=None,
    )
}
