"""Repositories as administrators make and change them."""

import asyncio

import pytest

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import Encryption
from proxy.core.registry.repositories import NewRepository, RepositoryAdministration, chosen_policy
from proxy.core.registry.resource_tags import ResourceTagAdministration
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagMutability, TagPolicy
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.metadata.store import SqlMetadataStore
from tests.support.clock import FakeClock
from tests.support.metadata import remember

IDENTITY = RegistryIdentity("123456789012", "eu-west-1")
NAME = RepositoryName("team/app")
KEPT = TagPolicy(TagMutability.IMMUTABLE)
EXCLUDING = TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("dev-*", "a*"))


def administration(store: RegistryStore, default: TagPolicy = ALL_TAGS_MOVE) -> RepositoryAdministration:
    return RepositoryAdministration(
        store, IDENTITY, FakeClock(), default_policy=lambda _name: default, canonical=lambda name: name
    )


@pytest.fixture
def store() -> MemoryMetadataStore:
    return MemoryMetadataStore()


async def test_a_repository_is_described_as_it_was_made(store: MemoryMetadataStore) -> None:
    repositories = administration(store)
    asked = NewRepository(NAME, EXCLUDING, Encryption("KMS", "alias/key"), scan_on_push=True, resource_tags={"a": "b"})

    made = await repositories.create(asked)

    assert made == await repositories.get(NAME)
    assert made.created_at == FakeClock().now()
    assert made.tag_policy == EXCLUDING
    assert made.details.encryption == Encryption("KMS", "alias/key")
    assert made.details.scan_on_push is True
    assert made.details.resource_tags == {"a": "b"}


async def test_a_repository_without_a_policy_of_its_own_shows_the_configurations(store: MemoryMetadataStore) -> None:
    made = await administration(store, KEPT).create(NewRepository(NAME))

    assert made.tag_policy == KEPT
    record = await store.repository(NAME)
    assert record is not None
    assert record.tag_policy is None  # what the configuration says later counts then
    assert [record.tag_policy for record in await administration(store, EXCLUDING).page("", 9)] == [EXCLUDING]
    assert (await administration(store, EXCLUDING).delete(NAME, force=False)).tag_policy == EXCLUDING


async def test_a_name_is_taken_once(store: MemoryMetadataStore) -> None:
    repositories = administration(store)
    await repositories.create(NewRepository(NAME, KEPT))

    with pytest.raises(ApiError) as refused:
        await repositories.create(NewRepository(NAME))

    assert refused.value.code is ApiErrorCode.RepositoryAlreadyExistsException
    sentence = "The repository with name 'team/app' already exists in the registry with id '123456789012'"
    assert refused.value.message == sentence
    assert (await repositories.get(NAME)).tag_policy == KEPT


async def test_what_is_not_there_cannot_be_looked_at_changed_or_removed(store: MemoryMetadataStore) -> None:
    repositories = administration(store)
    await repositories.create(NewRepository(NAME))
    missing = RepositoryName("team/other")

    for attempt in (
        repositories.describe([NAME, missing]),
        repositories.get(missing),
        repositories.delete(missing, force=True),
        repositories.set_tag_policy(missing, KEPT),
        repositories.set_scanning(missing, on_push=True),
    ):
        with pytest.raises(ApiError) as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.RepositoryNotFoundException
        sentence = "The repository with name 'team/other' does not exist in the registry with id '123456789012'"
        assert refused.value.message == sentence


async def test_repositories_are_described_in_the_order_asked_and_once(store: MemoryMetadataStore) -> None:
    repositories = administration(store)
    for name in ("a/b", "a/c"):
        await repositories.create(NewRepository(RepositoryName(name)))

    found = await repositories.describe(map(RepositoryName, ("a/c", "a/b", "a/c")))

    assert [record.name for record in found] == ["a/c", "a/b"]
    assert [record.name for record in await repositories.page("a/b", 5)] == ["a/c"]


async def test_a_repository_with_images_is_removed_only_by_force(store: MemoryMetadataStore) -> None:
    repositories = administration(store)
    await repositories.create(NewRepository(NAME, KEPT))
    await remember(store, repository=NAME, provenance=None)

    with pytest.raises(ApiError) as refused:
        await repositories.delete(NAME, force=False)
    assert refused.value.code is ApiErrorCode.RepositoryNotEmptyException
    assert refused.value.message == (
        "The repository with name 'team/app' in registry with id '123456789012' cannot be deleted because it still "
        "contains images"
    )
    assert (await repositories.delete(NAME, force=True)).tag_policy == KEPT
    assert await repositories.page("", 5) == []


async def test_another_tag_policy_replaces_the_whole_old_one(store: MemoryMetadataStore) -> None:
    repositories = administration(store)
    await repositories.create(NewRepository(NAME, EXCLUDING, scan_on_push=True))

    changed = await repositories.set_tag_policy(NAME, KEPT)

    assert changed.tag_policy == KEPT
    assert changed.details.scan_on_push is True
    assert (await repositories.set_scanning(NAME, on_push=False)).tag_policy == KEPT
    assert (await repositories.get(NAME)).details.scan_on_push is False


async def test_parallel_creators_make_one_repository(sql: SqlMetadataStore) -> None:
    repositories = administration(sql)
    asked = [NewRepository(NAME, resource_tags={"by": str(number)}) for number in range(16)]

    outcomes = await asyncio.gather(*map(repositories.create, asked), return_exceptions=True)

    made = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(made) == 1
    assert await repositories.get(NAME) == made[0]
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ApiError)} == {
        ApiErrorCode.RepositoryAlreadyExistsException
    }


async def test_parallel_changes_of_one_repository_lose_nothing(sql: SqlMetadataStore) -> None:
    repositories, tags = administration(sql), ResourceTagAdministration(sql, IDENTITY)
    await repositories.create(NewRepository(NAME))

    await asyncio.gather(
        repositories.set_tag_policy(NAME, EXCLUDING),
        *(tags.tag(IDENTITY.arn(NAME), [(f"key-{number}", str(number))]) for number in range(30)),
        repositories.set_scanning(NAME, on_push=True),
    )

    found = await repositories.get(NAME)
    assert found.tag_policy == EXCLUDING
    assert found.details.scan_on_push is True
    assert found.details.resource_tags == {f"key-{number}": str(number) for number in range(30)}


@pytest.mark.parametrize("mode", TagMutability)
def test_filters_go_with_the_modes_with_exclusion_and_no_other(mode: TagMutability) -> None:
    some: list[str] = ["dev-*"]
    none: tuple[list[str] | None, ...] = (None, [])
    if mode.has_filters:
        assert chosen_policy(mode, some) == TagPolicy(mode, ("dev-*",))
    else:
        assert [chosen_policy(mode, filters) for filters in none] == [TagPolicy(mode)] * 2
    word = "can't" if mode.has_filters else "must"

    for filters in none if mode.has_filters else (some,):
        with pytest.raises(ApiError) as error:
            chosen_policy(mode, filters)
        assert error.value.code is ApiErrorCode.InvalidParameterException
        assert error.value.message == (
            "Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: "
            f"'ImageTagMutabilityExclusionFilters {word} be null when imageTagMutability is set as {mode}'"
        )


@pytest.mark.parametrize("filters", [["a*b*c*"], ["a b"], ["x"] * 6, ["x" * 129], [""]])
def test_filters_that_mean_nothing_are_refused(filters: list[str]) -> None:
    with pytest.raises(ApiError, match="imageTagMutabilityExclusionFilters") as error:
        chosen_policy(TagMutability.IMMUTABLE_WITH_EXCLUSION, filters)
    assert error.value.code is ApiErrorCode.InvalidParameterException


def test_who_chooses_nothing_has_no_policy() -> None:
    assert chosen_policy(None, None) is None


def test_filters_without_a_mode_are_refused() -> None:
    with pytest.raises(ApiError, match="set as MUTABLE'"):
        chosen_policy(None, ["dev-*"])
