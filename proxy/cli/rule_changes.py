"""Making, changing and deleting the cache rules of the API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.app.core import Core
from proxy.cli.audit import Change
from proxy.cli.configured import load
from proxy.cli.exits import refuse
from proxy.cli.output import moment, show_known
from proxy.cli.store import run_on_store
from proxy.core.registry.records import RuleRecord
from proxy.core.registry.rules import NewRule
from proxy.core.registry.secrets.names import SecretReference, secret_arn
from proxy.model.api_errors import ApiError


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new rule is to be, as it was written. `secret` is an ARN, or the name of a secret."""

    prefix: str
    upstream: str
    secret: str | None = None
    upstream_prefix: str | None = None
    upstream_registry: str | None = None
    custom_role_arn: str | None = None


def create(config: Path | None, asked: Asked, *, json: bool) -> None:
    """Make a rule, and show it."""

    async def make(core: Core) -> RuleRecord:
        return await core.administration.rules.create(
            NewRule(
                prefix=asked.prefix,
                upstream_url=asked.upstream,
                registry=asked.upstream_registry,
                credential_arn=await _arn(core, asked.secret),
                custom_role_arn=asked.custom_role_arn,
                upstream_prefix=asked.upstream_prefix,
            )
        )

    _change(config, make, Change("rules.create", asked.prefix), json=json)


def update(config: Path | None, prefix: str, secret: str | None, custom_role_arn: str | None, *, json: bool) -> None:
    """Give a rule other credentials, and show it."""
    if secret is None and custom_role_arn is None:
        refuse("nothing is to be changed: give --credential-arn, or --custom-role-arn")

    async def change(core: Core) -> RuleRecord:
        return await core.administration.rules.update(prefix, await _arn(core, secret), custom_role_arn)

    _change(config, change, Change("rules.update", prefix), json=json)


def delete(config: Path | None, prefix: str, *, json: bool) -> None:
    """Delete a rule, and show what it was."""

    async def remove(core: Core) -> RuleRecord:
        return await core.administration.rules.delete(prefix)

    _change(config, remove, Change("rules.delete", prefix), json=json)


def _change(config: Path | None, work: Callable[[Core], Awaitable[RuleRecord]], change: Change, *, json: bool) -> None:
    settings = load(config)[1]
    show_known(_told(run_on_store(settings, work, change)), json=json)


async def _arn(core: Core, secret: str | None) -> str | None:
    """Return the ARN of a secret that may have been named without one, as rules of the API have it."""
    if secret is None or SecretReference.parse(secret).is_arn:
        return secret
    secrets = core.administration.secrets
    try:
        return secrets.arn(await secrets.describe(secret))
    except ApiError:
        # It may be one of the configuration, or of AWS: whether it is there is asked when the rule is made.
        return secret_arn(core.administration.identity, secret)


def _told(record: RuleRecord) -> Mapping[str, object]:
    return {
        "prefix": record.prefix,
        "upstream": record.upstream_url,
        "upstream_registry": record.registry,
        "upstream_prefix": record.upstream_prefix,
        "credential_arn": record.credential_arn,
        "custom_role_arn": record.custom_role_arn,
        "created_at": moment(record.created_at),
        "updated_at": moment(record.updated_at),
    }
