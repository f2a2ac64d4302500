"""The policies of ECR that requests are decided by, at hand while nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from cachetools import LRUCache

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.policies import REGISTRY_POLICY
from proxy.core.registry.policy_documents import Effect, PolicyDocument, PolicyKind, Statement, parse_policy
from proxy.model.api_errors import ApiError
from proxy.model.reference import RepositoryName

_log = structlog.get_logger(__name__)

_REPOSITORIES: Final = 50_000
_TEXTS: Final = 512
"""Policies that are kept as they were parsed: most repositories have none, or that of their template."""

_SEALED: Final = PolicyDocument((Statement(Effect.DENY, {"AWS": ("*",)}, ("*",)),), "2012-10-17")
"""What a policy says that this version cannot read: nobody knows whom it was to keep out."""


class PolicyRecords(Protocol):
    """What is asked of the metadata."""

    def generation(self) -> object:
        """Return what stands for the metadata as they are now, as `Changes.generation`."""

    async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
        """Return the repository, or None."""

    async def records_of(self, names: Sequence[RepositoryName]) -> list[RepositoryRecord]:
        """Return those of some repositories that there are, in any order."""

    async def policed_repositories(self, after: str, limit: int) -> list[RepositoryRecord]:
        """Return up to `limit` repositories with a policy of their own and names greater than `after`, in order."""

    async def document(self, name: str) -> str | None:
        """Return a text of the whole registry, or None."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What is attached to a repository and has a say in who may use it: its policy, and its resource tags."""

    policy: PolicyDocument | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


_NOTHING: Final = Attached()


class PolicyDocuments:
    """Find the policies of repositories and of the registry.

    What was found is told again while the metadata are of one generation, and a text is parsed once: a policy that any
    process sets is obeyed by the next request.
    """

    def __init__(self, store: PolicyRecords) -> None:
        self._store = store
        self._generation: object = None
        self._repositories: LRUCache[RepositoryName, Attached] = LRUCache(_REPOSITORIES)
        self._registry: tuple[PolicyDocument | None] | None = None
        self._policed: tuple[Mapping[RepositoryName, Attached] | None] | None = None
        self._parsed: LRUCache[tuple[PolicyKind, str], PolicyDocument] = LRUCache(_TEXTS)

    async def registry(self) -> PolicyDocument | None:
        """Return what the policy of the registry says, or None where it has none."""
        generation = self._now()
        if self._registry is None:
            text = await self._store.document(REGISTRY_POLICY)
            found = None if text is None else self._parse(PolicyKind.REGISTRY, text)
            if generation != self._generation:
                return found
            self._registry = (found,)
        return self._registry[0]

    async def repository(self, name: RepositoryName) -> Attached:
        """Return what is attached to a repository; nothing where it is not there."""
        generation = self._now()
        found = self._repositories.get(name)
        if found is None:
            record = await self._store.repository(name)
            found = self._read(record) if record is not None else _NOTHING
            self._keep(generation, name, found)
        return found

    async def prepare(self, names: Sequence[RepositoryName]) -> None:
        """Look at once for what `repository` will be asked."""
        generation = self._now()
        wanted = [name for name in names if name not in self._repositories]
        if not wanted:
            return
        for record in await self._store.records_of(wanted):
            self._keep(generation, record.name, self._read(record))

    async def policed(self, limit: int) -> Mapping[RepositoryName, Attached] | None:
        """Return what is attached to the repositories that have a policy of their own; None for more than `limit`."""
        generation = self._now()
        if self._policed is None:
            records = await self._store.policed_repositories("", limit + 1)
            found = {record.name: self._read(record) for record in records} if len(records) <= limit else None
            if generation != self._generation:
                return found
            self._policed = (found,)
        return self._policed[0]

    def _now(self) -> object:
        """Return the generation of the metadata, and forget what was found in another."""
        generation = self._store.generation()
        if generation != self._generation:
            self._generation = generation
            self._repositories.clear()
            self._registry = self._policed = None
        return generation

    def _keep(self, generation: object, name: RepositoryName, found: Attached) -> None:
        if generation == self._generation:
            self._repositories[name] = found

    def _read(self, record: RepositoryRecord) -> Attached:
        details = record.details
        if details.policy is None and not details.resource_tags:
            return _NOTHING
        policy = None if details.policy is None else self._parse(PolicyKind.REPOSITORY, details.policy)
        return Attached(policy, details.resource_tags)

    def _parse(self, kind: PolicyKind, text: str) -> PolicyDocument:
        parsed = self._parsed.get((kind, text))
        if parsed is None:
            try:
                parsed = parse_policy(text, kind)
            except ApiError as error:
                _log.error("policy.unreadable", kind=kind.value, reason=error.message)
                parsed = _SEALED
            self._parsed[kind, text] = parsed
        return parsed
