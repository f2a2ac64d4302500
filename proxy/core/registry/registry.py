"""What is said of the registry as a whole: where it would be replicated, and its account's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import Documents
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid

_log = structlog.get_logger(__name__)

DESTINATIONS_LIMIT = 25
"""The most distinct destinations that ECR allows over all rules
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html)."""

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "BASIC_SCAN_TYPE_VERSION": ("AWS_NATIVE", "CLAIR"),
    "REGISTRY_POLICY_SCOPE": ("V2", "V1"),
    "BLOB_MOUNTING": ("ENABLED", "DISABLED"),
}
"""The settings of an account, and what each may be: first what it is unless it was set."""

_REPLICATION = "replication"


@dataclass(frozen=True, slots=True)
class Destination:
    """A registry that images would be copied to."""

    region: str
    account: str


@dataclass(frozen=True, slots=True)
class ReplicationRule:
    """Where repositories would be copied to: those whose names begin with one of `prefixes`, None for all.

    `deletes`: whether deletions would follow, None where the caller did not say.
    """

    destinations: tuple[Destination, ...]
    prefixes: tuple[str, ...] | None = None
    deletes: bool | None = None


_rules = msgspec.json.Decoder(tuple[ReplicationRule, ...])


class RegistryAdministration:
    """Keep what administrators say of the registry; nothing follows from it. Every method raises `ApiError`."""

    def __init__(self, store: Documents, identity: RegistryIdentity) -> None:
        self._store = store
        self._identity = identity

    async def replication(self) -> tuple[ReplicationRule, ...]:
        """Return the rules of replication."""
        text = await self._store.document(_REPLICATION)
        return () if text is None else _rules.decode(text)

    async def set_replication(self, rules: Sequence[ReplicationRule]) -> None:
        """Put `rules` in place of those that are there; none ends replication."""
        own = Destination(self._identity.region, self._identity.account)
        destinations = {destination for rule in rules for destination in rule.destinations}
        if own in destinations:
            raise invalid(
                "replicationConfiguration", "Replication destination cannot be the same as the source registry"
            )
        if len(destinations) > DESTINATIONS_LIMIT:
            raise invalid(
                "replicationConfiguration", f"Rules must have at most {DESTINATIONS_LIMIT} distinct destinations"
            )
        text = msgspec.json.encode(tuple(rules)).decode() if rules else None
        await self._store.alter_document(_REPLICATION, lambda _before: text)
        _log.info("registry.replication_set", rules=len(rules))

    async def setting(self, name: str) -> str:
        """Return a setting of the account; ValidationException for a name that is none."""
        default = _values(name)[0]
        return await self._store.document(_document(name)) or default

    async def set_setting(self, name: str, value: str) -> None:
        """Keep a setting of the account; ValidationException for a name or value that is none."""
        values = _values(name)
        if value not in values:
            raise ApiError(
                ApiErrorCode.ValidationException, f"{value[:100]!r} is no value of {name}: it is {' or '.join(values)}"
            )
        await self._store.alter_document(_document(name), lambda _before: value)
        _log.info("registry.setting_set", setting=name, value=value)


def _values(name: str) -> tuple[str, ...]:
    values = SETTINGS.get(name)
    if values is None:
        raise ApiError(
            ApiErrorCode.ValidationException, f"there is no account setting {name!r}: they are {', '.join(SETTINGS)}"
        )
    return values


def _document(name: str) -> str:
    return f"account-setting/{name}"
