"""The operations on the registry as a whole."""

from collections.abc import Mapping
from typing import Final

from proxy.core.registry.registry import Destination, ReplicationRule
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation, State


async def describe_registry(call: ApiCall, _given: Given) -> Answer:
    """Describe the registry."""
    rules = await call.services.registry.replication()
    return {
        "registryId": call.identity.account,
        "replicationConfiguration": {"rules": [_shown(rule) for rule in rules]},
    }


async def put_replication_configuration(call: ApiCall, given: Given) -> Answer:
    """Keep where images would be replicated to."""
    rules = [_rule(rule) for rule in given["replicationConfiguration"]["rules"]]
    await call.services.registry.set_replication(rules)
    return {"replicationConfiguration": {"rules": [_shown(rule) for rule in rules]}}


async def get_account_setting(call: ApiCall, given: Given) -> Answer:
    """Show a setting of the account."""
    return {"name": given["name"], "value": await call.services.registry.setting(given["name"])}


async def put_account_setting(call: ApiCall, given: Given) -> Answer:
    """Keep a setting of the account."""
    await call.services.registry.set_setting(given["name"], given["value"])
    return {"name": given["name"], "value": given["value"]}


def _rule(given: Given) -> ReplicationRule:
    filters, deletion = given.get("repositoryFilters"), given.get("deleteReplication")
    return ReplicationRule(
        tuple(Destination(entry["region"], entry["registryId"]) for entry in given["destinations"]),
        None if filters is None else tuple(entry["filter"] for entry in filters),
        None if deletion is None else deletion["enabled"],
    )


def _shown(rule: ReplicationRule) -> Answer:
    filters, deletes = rule.prefixes, rule.deletes
    shown: Answer = {
        "destinations": [{"region": entry.region, "registryId": entry.account} for entry in rule.destinations]
    }
    if filters is not None:
        shown["repositoryFilters"] = [{"filter": prefix, "filterType": "PREFIX_MATCH"} for prefix in filters]
    if deletes is not None:
        shown["deleteReplication"] = {"enabled": deletes}
    return shown


OPERATIONS: Final[Mapping[str, Operation]] = {
    "DescribeRegistry": Operation(describe_registry),
    "PutReplicationConfiguration": Operation(
        put_replication_configuration, State.KEPT, "Nothing is replicated: the registry is one of its own."
    ),
    "GetAccountSetting": Operation(get_account_setting),
    "PutAccountSetting": Operation(
        put_account_setting,
        State.KEPT,
        "Nothing follows from a setting: blobs are mounted whatever BLOB_MOUNTING says, which is ENABLED unless it "
        "was set; REGISTRY_POLICY_SCOPE is V2 unless it was set.",
    ),
}
