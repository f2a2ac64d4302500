"""Repositories that nobody created: what a first pull or push makes them, by which template."""

import structlog

from proxy.core.ports import Clock, RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import PLAIN, RepositoryDetails, Scenario, TemplateRecord
from proxy.model.reference import RepositoryName
from proxy.model.rule import ROOT
from proxy.telemetry.audit import AuditEvent, AuditKind, AuditTrail, NoAudit
from proxy.telemetry.logging import REQUEST_ID

_log = structlog.get_logger(__name__)


class RepositoryCreator:
    """Make the repositories of pulls and pushes, with the settings of the creation template that applies.

    `audit` is told of each, by the id of the request that is being answered: a pull is no change by itself.
    """

    def __init__(
        self, store: RegistryStore, identity: RegistryIdentity, clock: Clock, audit: AuditTrail | None = None
    ) -> None:
        self._store = store
        self._audit = audit or NoAudit()
        self._identity = identity
        self._clock = clock

    async def ensure(self, name: RepositoryName, scenario: Scenario) -> bool:
        """Make the repository unless it is there; tell whether it is there now.

        It is made once, whole, however many callers ask at the same time, in this process or another. False only
        where ECR is followed to the letter, and a push names a repository that no template lets it make: the caller
        answers that there is none. A repository that is there is never changed.
        """
        if await self._store.has_repository(name):
            return True
        template = await self.template_for(name, scenario)
        if template is None and self._identity.ecr and scenario is Scenario.CREATE_ON_PUSH:
            return False
        made = await self._store.create_repository(self._record(name, template))
        if made:
            _log.info(
                "repository.made",
                repository=name,
                scenario=scenario.value,
                template=template.prefix if template is not None else None,
            )
            await self._audit.record(
                AuditEvent(
                    AuditKind.CHANGE,
                    "ecr:CreateRepository",
                    principal=f"system:{scenario.value.lower()}",
                    scheme="internal",
                    subject=name,
                    request_id=REQUEST_ID.get(),
                )
            )
        return True

    async def template_for(self, name: RepositoryName, scenario: Scenario) -> TemplateRecord | None:
        """Return the template that applies to a repository made by `scenario`, or None.

        Of those for the scenario it is the one with the longest prefix of whole segments that the name lies below;
        `ROOT` is for names below no other.
        """
        templates = await self._store.templates()
        found = {template.key: template for template in templates if scenario in template.applied_for}
        prefix = name.rpartition("/")[0]
        while prefix:
            if prefix in found:
                return found[prefix]
            prefix = prefix.rpartition("/")[0]
        return found.get(ROOT)

    def _record(self, name: RepositoryName, template: TemplateRecord | None) -> RepositoryRecord:
        now = self._clock.now()
        if template is None:
            return RepositoryRecord(name, now, None, PLAIN)
        details = RepositoryDetails(
            encryption=template.encryption,
            resource_tags=template.resource_tags,
            policy=template.repository_policy,
            lifecycle=template.lifecycle_policy,
        )
        return RepositoryRecord(name, now, template.tag_policy, details)
