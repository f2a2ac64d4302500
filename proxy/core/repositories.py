"""Repositories: whether clients may write to them, how they come to be, and the policy of their tags."""

from dataclasses import dataclass
from typing import Protocol

import structlog

from proxy.core.admission import full
from proxy.core.policy import Policy
from proxy.core.ports import Clock, MetadataStore, RepositoryRecord, StorageFullError
from proxy.core.registry.records import Scenario
from proxy.core.rules import Resolution
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagPolicy

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RepositoryDescription:
    """A repository and the policy that its tags obey: its `own`, or the configuration's."""

    name: RepositoryName
    created_at: float
    tag_policy: TagPolicy
    own: bool


class Creator(Protocol):
    """What makes repositories that nobody created."""

    async def ensure(self, name: RepositoryName, scenario: Scenario) -> bool:
        """Make the repository unless it is there; False where it is not to be made.

        Raises `StorageFullError`.
        """


class RepositoryService:
    """Look after repositories. Methods raise `ProxyError`, STORAGE_FULL where nothing can be written.

    What clients are told of a repository that is not there is the `policy`'s.
    """

    def __init__(self, metadata: MetadataStore, creator: Creator, clock: Clock, policy: Policy) -> None:
        self._metadata = metadata
        self._creator = creator
        self._clock = clock
        self._policy = policy

    def require_writable(self, resolution: Resolution) -> None:
        """Raise `ProxyError` UNSUPPORTED where clients may not write to the repository: it is a cache."""
        remote = resolution.remote
        if remote is None or resolution.takes_pushes:
            return
        source, prefix = remote.provenance.source, remote.rule.prefix
        raise ProxyError(
            ErrorCode.UNSUPPORTED,
            f"{resolution.repository} is a cache of {source}: it cannot be written to; `push: allow` in the rule "
            f"{prefix} permits it",
            detail={"rule": prefix, "upstream": source},
            headers={"Allow": "GET, HEAD"},  # RFC 9110 §15.5.6: 405 names what is allowed
        )

    async def ensure(self, resolution: Resolution) -> None:
        """Make the repository of a push unless it is there; NAME_UNKNOWN where a push may not make it."""
        name = resolution.repository
        try:
            there = await self._creator.ensure(name, Scenario.CREATE_ON_PUSH)
        except StorageFullError as error:
            raise full(error) from error
        if not there:
            raise self.unknown(name)

    async def create(self, name: RepositoryName, policy: TagPolicy | None = None) -> bool:
        """Make a repository, with a tag policy of its own or without; tell whether it was not there before."""
        try:
            made = await self._metadata.create_repository(RepositoryRecord(name, self._clock.now(), policy))
        except StorageFullError as error:
            raise full(error) from error
        if made:
            _log.info("repository.created", repository=name)
        return made

    async def describe(self, resolution: Resolution) -> RepositoryDescription:
        """Return what is known of the repository, or raise NAME_UNKNOWN."""
        name = resolution.repository
        record = await self._metadata.repository(name)
        if record is None:
            raise self.unknown(name)
        own = record.tag_policy is not None
        return RepositoryDescription(name, record.created_at, record.tag_policy or resolution.tag_policy, own)

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy | None) -> None:
        """Give the repository a tag policy of its own, or (None) the configuration's; NAME_UNKNOWN without one."""
        try:
            known = await self._metadata.set_tag_policy(name, policy)
        except StorageFullError as error:
            raise full(error) from error
        if not known:
            raise self.unknown(name)
        _log.info("repository.tag_policy_set", repository=name, mutability=policy and policy.mutability.value)

    async def require(self, name: RepositoryName) -> None:
        """Raise NAME_UNKNOWN unless the repository is there."""
        if not await self._metadata.has_repository(name):
            raise self.unknown(name)

    def unknown(self, name: RepositoryName) -> ProxyError:
        """Return the answer for a client that names a repository which is not there."""
        return self._policy.unknown(name)
