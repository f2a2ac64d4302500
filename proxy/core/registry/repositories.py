"""Repositories as administrators make, change and remove them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from proxy.core.listings import Visible
from proxy.core.ports import Clock, RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.known_repositories import KnownRepositories
from proxy.core.registry.ports import NotEmptyError, RegistryStore
from proxy.core.registry.records import PLAIN, Encryption, RepositoryDetails
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy

_log = structlog.get_logger(__name__)

_BATCH = 512
"""Repositories that are looked at together, to find those which may be shown."""

_FILTERS = "imageTagMutabilityExclusionFilters"


@dataclass(frozen=True, slots=True)
class NewRepository:
    """What a caller asks a new repository to be. Without a `tag_policy` the configuration says it."""

    name: RepositoryName
    tag_policy: TagPolicy | None = None
    encryption: Encryption = PLAIN.encryption
    scan_on_push: bool = False
    resource_tags: Mapping[str, str] = field(default_factory=dict)


class RepositoryAdministration:
    """Look after repositories for administrators. Every method raises `ApiError`.

    What is returned has the tag policy that is in force: the repository's own, or what `default_policy` says.
    `canonical` returns the repository that clients reach by a name.
    """

    def __init__(
        self,
        store: RegistryStore,
        identity: RegistryIdentity,
        clock: Clock,
        *,
        default_policy: Callable[[RepositoryName], TagPolicy],
        canonical: Callable[[RepositoryName], RepositoryName],
    ) -> None:
        self._store = store
        self._repositories = KnownRepositories(store, identity)
        self._identity = identity
        self._clock = clock
        self._default_policy = default_policy
        self._canonical = canonical

    async def create(self, asked: NewRepository) -> RepositoryRecord:
        """Make a repository; RepositoryAlreadyExistsException where there is one of this name.

        InvalidParameterException for a name by which clients reach another one: what is said of it would not hold.
        """
        reached = self._canonical(asked.name)
        if reached != asked.name:
            raise invalid("repositoryName", f"by this name clients reach {reached}: create that")
        details = RepositoryDetails(
            encryption=asked.encryption, scan_on_push=asked.scan_on_push, resource_tags=asked.resource_tags
        )
        record = RepositoryRecord(asked.name, self._clock.now(), asked.tag_policy, details)
        if not await self._store.create_repository(record):
            raise ApiError(
                ApiErrorCode.RepositoryAlreadyExistsException,
                f"The repository with name '{asked.name}' already exists in the registry with id "
                f"'{self._identity.account}'",
            )
        _log.info("repository.created", repository=asked.name)
        return self._shown(record)

    async def describe(self, names: Iterable[RepositoryName]) -> list[RepositoryRecord]:
        """Return the repositories of these names, in their order; RepositoryNotFoundException for the first unknown."""
        return [await self.get(name) for name in dict.fromkeys(names)]

    async def get(self, name: RepositoryName) -> RepositoryRecord:
        """Return a repository, or raise RepositoryNotFoundException."""
        return self._shown(await self._repositories.get(name))

    async def page(
        self, after: str, limit: int, visible: Visible | None = None, spans: Sequence[NameSpan] = ALL_NAMES
    ) -> list[RepositoryRecord]:
        """Return up to `limit` repositories whose names are greater than `after`, in order of name.

        With `visible`, of those that it lets through: a page is as full as if there were no others. Only those in
        `spans` are looked at.
        """
        if visible is None:
            return [self._shown(record) for record in await self._store.repository_records(after, limit, spans)]
        found = list[RepositoryRecord]()
        while len(found) < limit:
            records = await self._store.repository_records(after, _BATCH, spans)
            names = set(await visible([record.name for record in records]))
            found += [self._shown(record) for record in records if record.name in names]
            if len(records) < _BATCH:
                break
            after = records[-1].name
            await asyncio.sleep(0)  # what was looked up before may never have waited
        return found[:limit]

    async def delete(self, name: RepositoryName, *, force: bool) -> RepositoryRecord:
        """Remove a repository and return it.

        RepositoryNotEmptyException where it holds images and `force` is not given.
        """
        try:
            removed = await self._store.remove_repository(name, force=force)
        except NotEmptyError as error:
            raise ApiError(
                ApiErrorCode.RepositoryNotEmptyException,
                f"The repository with name '{name}' in registry with id '{self._identity.account}' cannot be deleted "
                f"because it still contains images",
            ) from error
        if removed is None:
            raise self._identity.unknown(name)
        _log.info("repository.deleted", repository=name, force=force)
        return self._shown(removed)

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy) -> RepositoryRecord:
        """Give a repository a tag policy of its own, in place of the one that it had."""
        changed = await self._repositories.alter(name, lambda record: replace(record, tag_policy=policy))
        _log.info("repository.tag_policy_set", repository=name, mutability=policy.mutability.value)
        return self._shown(changed)

    async def set_scanning(self, name: RepositoryName, *, on_push: bool) -> RepositoryRecord:
        """Keep whether images are to be scanned when they are pushed."""
        changed = await self._repositories.alter_details(name, lambda details: replace(details, scan_on_push=on_push))
        _log.info("repository.scanning_set", repository=name, on_push=on_push)
        return self._shown(changed)

    def _shown(self, record: RepositoryRecord) -> RepositoryRecord:
        if record.tag_policy is not None:
            return record
        return replace(record, tag_policy=self._default_policy(record.name))


def chosen_policy(mutability: TagMutability | None, filters: Sequence[str] | None) -> TagPolicy | None:
    """Return the tag policy that a caller chose, or None where it chose none.

    Raises `ApiError` InvalidParameterException where mode and filters do not go together. Filters without a mode are
    taken with ECR's default mode, which has none.
    """
    if mutability is None and not filters:
        return None
    mode, given = mutability or TagMutability.MUTABLE, tuple(filters or ())
    if mode.has_filters != bool(given):
        must = "can't" if mode.has_filters else "must"
        raise invalid(
            _FILTERS, f"ImageTagMutabilityExclusionFilters {must} be null when imageTagMutability is set as {mode}"
        )
    try:
        return TagPolicy(mode, given)
    except ValueError as error:
        raise invalid(_FILTERS, str(error)) from error
