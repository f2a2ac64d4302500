"""Cache rules as the API makes them, beside those of the configuration file."""

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from proxy.config.addresses import parse_upstream
from proxy.config.names import check_name
from proxy.config.rules import RuleSettings
from proxy.config.settings import Settings
from proxy.core.ports import Clock
from proxy.core.registry.ecr_upstreams import ECR, known_upstream, region_of
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import AlreadyExistsError, RuleRecords, TooManyError
from proxy.core.registry.records import RuleRecord, key_of
from proxy.core.registry.secrets.names import SecretReference, secret_arn
from proxy.core.repeating import repeat
from proxy.core.rules import RuleBook, RuleSet
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.credentials import CredentialsSource, EcrCredentials, SecretCredentials
from proxy.model.rule import ROOT, CacheRule, UpstreamAddress

_log = structlog.get_logger(__name__)

LIMIT = 50
"""The most rules that ECR allows a registry (https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html)."""

_POLL_SECONDS = 0.5
_NEEDS_SECRET = "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN"  # noqa: S105 - a sentence


class Secrets(Protocol):
    """Where credentials that a rule names by ARN are."""

    async def require(self, secret: str) -> None:
        """Raise `ApiError` unless the secret can be read; what is in it is not looked at, as in ECR.

        The codes are SecretNotFound-, UnableToAccessSecret- and UnableToDecryptSecretValueException.
        """


class Prober(Protocol):
    """What tries a rule."""

    async def failure_of(self, rules: RuleSet, rule: CacheRule) -> str | None:
        """Return why the rule cannot be pulled through, with the remedy, or None where it can."""


@dataclass(frozen=True, slots=True)
class NewRule:
    """What a caller asks a new rule to be."""

    prefix: str
    upstream_url: str
    registry: str | None = None
    credential_arn: str | None = None
    custom_role_arn: str | None = None
    upstream_prefix: str | None = None


class RuleAdministration:
    """Make, change and try cache rules, and keep the `RuleBook` true to file and store.

    A rule of the API shadows one of the file with the same prefix; deleting it uncovers that one. Every method raises
    `ApiError`. `load` must have run before requests are served.
    """

    def __init__(
        self,
        records: RuleRecords,
        book: RuleBook,
        settings: Settings,
        *,
        secrets: Secrets,
        prober: Prober,
        clock: Clock,
    ) -> None:
        self._records = records
        self._book = book
        self._settings = settings
        self._secrets = secrets
        self._prober = prober
        self._clock = clock
        self._started = clock.now()
        self._revision = -1
        self._generation: object = None
        self._known: dict[str, RuleRecord] = {}
        # Two loads at once could put the older state in force last.
        self._loading = asyncio.Lock()

    @property
    def _ecr(self) -> bool:
        return self._settings.registry.compatibility == "ecr"

    async def load(self) -> None:
        """Take over what the store holds now; nothing where that is in force already."""
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        # The number first: what changes in between is seen again at the next look.
        revision = await self._records.rules_revision()
        if revision == self._revision:
            return
        self._known = {record.key: record for record in await self._records.rules()}
        self._revision = revision
        self._apply()
        _log.info("rules.taken_over", rules=sorted(self._known))

    def behind(self) -> bool:
        """Tell whether anybody may have changed rules since the last `refresh`."""
        return self._records.rules_generation() != self._generation

    async def refresh(self) -> None:
        """Take over what other processes have changed; where nobody changed rules, that is mostly known unasked."""
        async with self._loading:
            generation = self._records.rules_generation()
            if generation != self._generation:  # else somebody who looked before has taken over all there was
                await self._load()
                self._generation = generation

    def configure(self, settings: Settings) -> None:
        """Put the file rules of another configuration in force, beside the API's."""
        self._settings = settings
        self._apply()

    async def watch(self, interval: float = _POLL_SECONDS) -> None:
        """Take over what other processes change, looking every `interval` seconds; never returns."""
        await repeat(self.load, interval, failed="rules.not_looked_at")

    async def create(self, asked: NewRule) -> RuleRecord:
        """Make a rule; it is in force when this returns, for the next request to any process."""
        for member, name in (
            ("ecrRepositoryPrefix", asked.prefix),
            ("upstreamRepositoryPrefix", asked.upstream_prefix or ROOT),
        ):
            _check_prefix(member, name)
        address = self._upstream(asked)
        registry = self._registry(asked, address)
        record = RuleRecord(
            prefix=asked.prefix,
            upstream_url=asked.upstream_url,
            created_at=self._clock.now(),
            registry=registry,
            credential_arn=asked.credential_arn,
            custom_role_arn=asked.custom_role_arn or None,
            upstream_prefix=asked.upstream_prefix,
        )
        if record.key == ROOT and asked.upstream_prefix not in {None, ROOT}:
            raise ApiError(
                ApiErrorCode.ValidationException,
                "upstreamRepositoryPrefix can only be set with an ecrRepositoryPrefix other than ROOT",
            )
        if asked.credential_arn is not None:
            await self._secrets.require(asked.credential_arn)
        try:
            await self._records.create_rule(record, LIMIT if self._ecr else None)
        except AlreadyExistsError as error:
            raise ApiError(ApiErrorCode.PullThroughCacheRuleAlreadyExistsException) from error
        except TooManyError as error:
            sentence = f"A registry can have at most {LIMIT} pull through cache rules"
            raise ApiError(ApiErrorCode.LimitExceededException, sentence) from error
        await self.load()
        _log.info("rule.created", prefix=record.prefix, upstream=record.upstream_url)
        return record

    async def update(self, prefix: str, credential_arn: str | None, custom_role_arn: str | None) -> RuleRecord:
        """Give a rule other credentials; what is None stays as it is."""
        await self.load()
        if key_of(prefix) not in self._known:
            raise self._missing(prefix)
        if credential_arn is not None:
            await self._secrets.require(credential_arn)
        now = self._clock.now()

        def change(record: RuleRecord) -> RuleRecord:
            return replace(
                record,
                credential_arn=credential_arn or record.credential_arn,
                custom_role_arn=custom_role_arn or record.custom_role_arn,
                updated_at=now,
            )

        changed = await self._records.alter_rule(key_of(prefix), change)
        if changed is None:
            raise self._missing(prefix)
        await self.load()
        _log.info("rule.updated", prefix=prefix)
        return changed

    async def delete(self, prefix: str) -> RuleRecord:
        """Remove a rule; what was cached by it stays, and is served without ever being refreshed."""
        removed = await self._records.delete_rule(key_of(prefix))
        if removed is None:
            raise self._missing(prefix)
        await self.load()
        _log.info("rule.deleted", prefix=prefix)
        return removed

    async def describe(self, prefixes: list[str] | None = None) -> list[RuleRecord]:
        """Return all rules in force in order of key, or those of `prefixes` in the order of these.

        A prefix without a rule is PullThroughCacheRuleNotFoundException.
        """
        await self.load()
        found = {key_of(rule.prefix): self._of_file(rule) for rule in self._settings.cache_rules()} | self._known
        if prefixes is None:
            return [found[key] for key in sorted(found)]
        missing = next((prefix for prefix in prefixes if key_of(prefix) not in found), None)
        if missing is not None:
            raise self._missing(missing)
        return [found[key_of(prefix)] for prefix in prefixes]

    async def made(self) -> list[RuleRecord]:
        """Return the rules that the API made, in order of key."""
        await self.load()
        return [self._known[key] for key in sorted(self._known)]

    async def validate(self, prefix: str) -> tuple[RuleRecord, str | None]:
        """Try a rule; return it, and why it cannot be pulled through, or None where it can."""
        record = (await self.describe([prefix]))[0]
        rules = self._book.current
        rule = rules.rule(record.key)
        if rule is None:
            # Made by another version, and left out.
            return record, f"the rule {prefix} cannot be used by this version: delete it and make it anew"
        return record, await self._prober.failure_of(rules, rule)

    # --- what a rule may be -------------------------------------------------------------------------------------------

    def _upstream(self, asked: NewRule) -> UpstreamAddress:
        try:
            address = parse_upstream(asked.upstream_url)
        except ValueError as error:
            if self._ecr:
                raise ApiError(ApiErrorCode.UnsupportedUpstreamRegistryException) from error
            raise invalid("upstreamRegistryUrl", str(error)) from error
        known = known_upstream(address)
        if not self._ecr:
            return address
        if known is None or asked.upstream_url != address.host:
            raise ApiError(ApiErrorCode.UnsupportedUpstreamRegistryException)
        if known.needs_secret and asked.credential_arn is None:
            raise ApiError(ApiErrorCode.UnsupportedUpstreamRegistryException, _NEEDS_SECRET)
        if known.name == ECR and not asked.custom_role_arn and not self._is_own_account(address):
            raise ApiError(
                ApiErrorCode.ValidationException, "a rule for another account's registry needs a customRoleArn"
            )
        return address

    def _registry(self, asked: NewRule, address: UpstreamAddress) -> str | None:
        known = known_upstream(address)
        name = known.name if known is not None else None
        if asked.registry is not None and asked.registry != name:
            is_now = f"is {name}" if name is not None else "is none of ECR's upstream registries"
            raise ApiError(
                ApiErrorCode.ValidationException, f"upstreamRegistry is {asked.registry}, and {address} {is_now}"
            )
        return name

    def _is_own_account(self, address: UpstreamAddress) -> bool:
        return address.host.startswith(f"{self._settings.registry.account_id}.")

    def _missing(self, prefix: str) -> ApiError:
        of_file = {key_of(rule.prefix) for rule in self._settings.cache_rules()}
        if key_of(prefix) in of_file:
            return ApiError(
                ApiErrorCode.ValidationException,
                f"the rule {prefix} is written in the configuration file: change it there",
            )
        return ApiError(
            ApiErrorCode.PullThroughCacheRuleNotFoundException,
            f"{ApiErrorCode.PullThroughCacheRuleNotFoundException.message} There is no rule with the prefix '{prefix}'",
        )

    # --- from records to rules ----------------------------------------------------------------------------------------

    def _of_file(self, rule: CacheRule) -> RuleRecord:
        known = known_upstream(rule.upstream)
        secret = rule.credentials.arn if isinstance(rule.credentials, SecretCredentials) else None
        if secret is not None and not SecretReference.parse(secret).is_arn:
            secret = secret_arn(RegistryIdentity.of(self._settings), secret)
        return RuleRecord(
            prefix=rule.prefix,
            upstream_url=str(rule.upstream),
            created_at=self._started,
            registry=known.name if known is not None else None,
            upstream_prefix=rule.upstream_prefix or None,
            credential_arn=secret,
        )

    def _apply(self) -> None:
        made = []
        for record in self._known.values():
            try:
                made.append(self._cache_rule(record))
            except ValueError as error:
                # Written by another version: one bad rule must not take the others with it.
                _log.error("rule.unusable", prefix=record.prefix, reason=str(error))
        self._book.replace(RuleSet.of(self._settings, made))

    def _cache_rule(self, record: RuleRecord) -> CacheRule:
        """Return the rule that a record means; raise ValueError.

        It has what rules of the file have by default. Where it takes the place of one for the same upstream, it keeps
        what the API cannot say: what may be pulled, by which way, how often is asked.
        """
        before = (record.upstream_prefix or "").removesuffix("/")
        said = {
            "prefix": record.key,
            "upstream": record.upstream_url,
            "upstream_prefix": "" if before == ROOT else before,
        }
        made = RuleSettings.model_validate(said)
        shadowed = next((rule for rule in self._settings.rules if rule.prefix == record.key), None)
        if shadowed is not None and parse_upstream(shadowed.upstream) == parse_upstream(made.upstream):
            made = shadowed.model_copy(update=said)
        rule = self._settings.cache_rule(made)
        return replace(rule, credentials=_credentials(record, rule.upstream))


def _credentials(record: RuleRecord, upstream: UpstreamAddress) -> CredentialsSource | None:
    if record.credential_arn is not None:
        return SecretCredentials(record.credential_arn)
    region = region_of(upstream)
    # No private registry of Amazon's is read without credentials: ECR uses its own role, this one the machine's.
    return EcrCredentials(region) if region is not None else None


def _check_prefix(member: str, prefix: str) -> None:
    if prefix == ROOT:
        return
    try:
        check_name(key_of(prefix))
    except ValueError as error:
        raise invalid(member, str(error)) from error
