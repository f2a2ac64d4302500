"""Cache rules: make, change, try, list and delete them."""

from collections.abc import Mapping
from typing import Final

from proxy.core.registry.records import RuleRecord
from proxy.core.registry.rules import NewRule
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.http.aws.pages import DEFAULT, cut, key_before


async def create_pull_through_cache_rule(call: ApiCall, given: Given) -> Answer:
    """Make a rule."""
    call.identity.require(given.get("registryId"))
    record = await call.services.rules.create(
        NewRule(
            prefix=given["ecrRepositoryPrefix"],
            upstream_url=given["upstreamRegistryUrl"],
            registry=given.get("upstreamRegistry"),
            credential_arn=given.get("credentialArn"),
            custom_role_arn=given.get("customRoleArn"),
            upstream_prefix=given.get("upstreamRepositoryPrefix"),
        )
    )
    return _of(call, record, "upstreamRegistryUrl", "createdAt", "upstreamRegistry")


async def describe_pull_through_cache_rules(call: ApiCall, given: Given) -> Answer:
    """List rules, or those of some prefixes."""
    call.identity.require(given.get("registryId"))
    prefixes = given.get("ecrRepositoryPrefixes")
    members = ("upstreamRegistryUrl", "createdAt", "upstreamRegistry", "updatedAt")
    if prefixes is not None:
        named = await call.services.rules.describe(prefixes)
        return {"pullThroughCacheRules": [_of(call, record, *members) for record in named]}
    after, size = key_before(given.get("nextToken")), given.get("maxResults", DEFAULT)
    found = [record for record in await call.services.rules.describe() if record.key > after]
    page, token = cut(found, size, lambda record: record.key)
    return {"pullThroughCacheRules": [_of(call, record, *members) for record in page], "nextToken": token}


async def update_pull_through_cache_rule(call: ApiCall, given: Given) -> Answer:
    """Give a rule other credentials."""
    call.identity.require(given.get("registryId"))
    record = await call.services.rules.update(
        given["ecrRepositoryPrefix"], given.get("credentialArn"), given.get("customRoleArn")
    )
    return _of(call, record, "updatedAt")


async def validate_pull_through_cache_rule(call: ApiCall, given: Given) -> Answer:
    """Try a rule."""
    call.identity.require(given.get("registryId"))
    record, failure = await call.services.rules.validate(given["ecrRepositoryPrefix"])
    return _of(call, record, "upstreamRegistryUrl") | {"isValid": failure is None, "failure": failure}


async def delete_pull_through_cache_rule(call: ApiCall, given: Given) -> Answer:
    """Delete a rule, and nothing that it cached."""
    call.identity.require(given.get("registryId"))
    record = await call.services.rules.delete(given["ecrRepositoryPrefix"])
    return _of(call, record, "upstreamRegistryUrl", "createdAt")


def _of(call: ApiCall, record: RuleRecord, *members: str) -> Answer:
    """Return what every answer tells of a rule, and those of `members` that this one does."""
    told: Answer = {
        "upstreamRegistryUrl": record.upstream_url,
        "upstreamRegistry": record.registry,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
    }
    return {
        "ecrRepositoryPrefix": record.prefix,
        "registryId": call.identity.account,
        "credentialArn": record.credential_arn,
        "customRoleArn": record.custom_role_arn,
        # Only where the caller sent it: Terraform would replace a rule that answers the default.
        "upstreamRepositoryPrefix": record.upstream_prefix,
    } | {member: told[member] for member in members}


_ROLE = (
    "`customRoleArn` is kept and returned, and not assumed: a private registry of Amazon's is read as the AWS identity "
    "that boto3 finds."
)

OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreatePullThroughCacheRule": Operation(
        create_pull_through_cache_rule,
        differences="With `relaxed`, any host is taken, with or without a scheme, a port and credentials; "
        "`upstreamRegistry` is then left out where the host is none of ECR's. A rule with the prefix of one of the "
        f"configuration file takes its place. {_ROLE}",
    ),
    "DescribePullThroughCacheRules": Operation(
        describe_pull_through_cache_rules,
        differences="Rules of the configuration file are listed too; their `createdAt` is the start of the server.",
    ),
    "UpdatePullThroughCacheRule": Operation(
        update_pull_through_cache_rule,
        differences="A rule of the configuration file is a ValidationException: it is changed there.",
    ),
    "ValidatePullThroughCacheRule": Operation(
        validate_pull_through_cache_rule,
        differences="`failure` is a sentence that says what to mend; a rule without credentials is valid where the "
        "upstream answers.",
    ),
    "DeletePullThroughCacheRule": Operation(
        delete_pull_through_cache_rule,
        differences="A rule of the configuration file with the same prefix is in force again afterwards; that one "
        "itself is a ValidationException.",
    ),
}
