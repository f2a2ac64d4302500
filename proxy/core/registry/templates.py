"""Repository creation templates: what repositories get that are made on a caller's behalf."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from proxy.core.ports import Clock
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.lifecycle.policy import parse_lifecycle
from proxy.core.registry.policy_documents import PolicyKind, parse_policy
from proxy.core.registry.ports import AlreadyExistsError, Templates
from proxy.core.registry.records import Encryption, Scenario, TemplateRecord, key_of
from proxy.core.registry.repositories import chosen_policy
from proxy.core.registry.resource_tags import checked_tags
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.tag_policy import TagMutability, TagPolicy

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """What a caller says of a template; None is what it does not speak of, empty what it takes away."""

    applied_for: Sequence[Scenario] | None = None
    description: str | None = None
    encryption: Encryption | None = None
    resource_tags: Iterable[tuple[str, str]] | None = None
    mutability: TagMutability | None = None
    filters: Sequence[str] | None = None
    repository_policy: str | None = None
    lifecycle_policy: str | None = None
    custom_role_arn: str | None = None


class TemplateAdministration:
    """Make, change and remove creation templates. Every method raises `ApiError`.

    Templates never change repositories that are there.
    """

    def __init__(self, store: Templates, identity: RegistryIdentity, clock: Clock) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock

    async def create(self, prefix: str, settings: TemplateSettings) -> TemplateRecord:
        """Make a template; TemplateAlreadyExistsException where its prefix has one, with or without a slash."""
        now, tags = self._clock.now(), self._check(settings)
        blank = TemplateRecord(prefix, (), created_at=now, updated_at=now)
        record = _merge(blank, settings, tags)
        if not record.applied_for:
            raise _no_scenario()
        try:
            await self._store.create_template(record)
        except AlreadyExistsError as error:
            raise ApiError(ApiErrorCode.TemplateAlreadyExistsException) from error
        _log.info("template.created", prefix=prefix)
        return record

    async def update(self, prefix: str, settings: TemplateSettings) -> TemplateRecord:
        """Change what `settings` speak of, and return the whole template."""
        now, tags = self._clock.now(), self._check(settings)

        def change(record: TemplateRecord) -> TemplateRecord:
            return replace(_merge(record, settings, tags), updated_at=now)

        changed = await self._store.alter_template(key_of(prefix), change)
        if changed is None:
            raise _missing(prefix)
        _log.info("template.updated", prefix=prefix)
        return changed

    async def describe(self, prefixes: Sequence[str] | None = None) -> list[TemplateRecord]:
        """Return all templates in order of key, or those of `prefixes` in the order of these.

        A prefix without a template is left out, and no error: ECR declares none for this operation, and Terraform's
        provider would fail at one where it looks for what was deleted behind its back.
        """
        found = {template.key: template for template in await self._store.templates()}
        if prefixes is None:
            return list(found.values())
        return [found[key] for key in dict.fromkeys(map(key_of, prefixes)) if key in found]

    async def delete(self, prefix: str) -> TemplateRecord:
        """Remove a template and return it."""
        removed = await self._store.delete_template(key_of(prefix))
        if removed is None:
            raise _missing(prefix)
        _log.info("template.deleted", prefix=prefix)
        return removed

    def _check(self, settings: TemplateSettings) -> dict[str, str] | None:
        """Raise `ApiError` for what no template may have; return the resource tags, or None where none are given."""
        if settings.applied_for is not None and not settings.applied_for:
            raise _no_scenario()
        if settings.repository_policy:
            parse_policy(settings.repository_policy, PolicyKind.REPOSITORY)
        if settings.lifecycle_policy:
            parse_lifecycle(settings.lifecycle_policy, ecr=self._identity.ecr)
        if settings.resource_tags is None:
            return None
        try:
            return checked_tags(settings.resource_tags)
        except ApiError as error:
            # ECR declares none of the errors of tags for templates.
            raise invalid("resourceTags", error.message) from error


def _merge(record: TemplateRecord, settings: TemplateSettings, tags: Mapping[str, str] | None) -> TemplateRecord:
    return replace(
        record,
        applied_for=tuple(dict.fromkeys(settings.applied_for or record.applied_for)),
        description=_newer(settings.description, record.description),
        encryption=settings.encryption or record.encryption,
        resource_tags=tags if tags is not None else record.resource_tags,
        tag_policy=_merged_policy(record.tag_policy, settings),
        repository_policy=_newer(settings.repository_policy, record.repository_policy),
        lifecycle_policy=_newer(settings.lifecycle_policy, record.lifecycle_policy),
        custom_role_arn=_newer(settings.custom_role_arn, record.custom_role_arn),
    )


def _merged_policy(policy: TagPolicy, settings: TemplateSettings) -> TagPolicy:
    mode, filters = settings.mutability or policy.mutability, settings.filters
    if filters is None and mode.has_filters:
        # Between the two modes with exclusion the filters stay; a plain mode drops them.
        filters = policy.filters
    return chosen_policy(mode, filters) or policy


def _newer(given: str | None, kept: str | None) -> str | None:
    """Return what is given, or what was kept; empty text takes away."""
    return kept if given is None else given or None


def _no_scenario() -> ApiError:
    return invalid("appliedFor", "Member must name at least one scenario")


def _missing(prefix: str) -> ApiError:
    code = ApiErrorCode.TemplateNotFoundException
    return ApiError(code, f"{code.message} There is no template with the prefix '{prefix}'")
