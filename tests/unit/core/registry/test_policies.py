"""Policies of repositories and of the registry."""

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.policies import PolicyAdministration
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore

IDENTITY = RegistryIdentity("123456789012", "eu-west-1")
NAME, MISSING = RepositoryName("team/app"), RepositoryName("team/other")
TEXT = ' {"Statement" : {"Effect":"Allow","Principal":"*",\n"Action":"ecr:*"}}\n'
OTHER = TEXT.replace("Allow", "Deny")
REGISTRY = TEXT.replace('"Action"', '"Resource":"*","Action"')


@pytest.fixture
async def policies() -> PolicyAdministration:
    store = MemoryMetadataStore()
    await store.create_repository(RepositoryRecord(NAME, 1.0))
    return PolicyAdministration(store, IDENTITY)


async def test_a_repository_policy_comes_back_byte_for_byte(policies: PolicyAdministration) -> None:
    await policies.set_repository_policy(NAME, OTHER)
    await policies.set_repository_policy(NAME, TEXT)

    assert await policies.repository_policy(NAME) == TEXT
    assert await policies.delete_repository_policy(NAME) == TEXT
    with pytest.raises(ApiError, match="policy does not exist"):
        await policies.repository_policy(NAME)


async def test_a_repository_without_a_policy_is_told_so(policies: PolicyAdministration) -> None:
    for attempt in (policies.repository_policy(NAME), policies.delete_repository_policy(NAME)):
        with pytest.raises(ApiError) as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.RepositoryPolicyNotFoundException
        assert refused.value.message == (
            "Repository policy does not exist for the repository with name 'team/app' in the registry with id "
            "'123456789012'"
        )


async def test_policies_need_a_repository(policies: PolicyAdministration) -> None:
    for attempt in (
        policies.set_repository_policy(MISSING, TEXT),
        policies.repository_policy(MISSING),
        policies.delete_repository_policy(MISSING),
    ):
        with pytest.raises(ApiError) as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.RepositoryNotFoundException


async def test_the_registrys_policy_comes_back_byte_for_byte(policies: PolicyAdministration) -> None:
    await policies.set_registry_policy(REGISTRY)

    assert await policies.registry_policy() == REGISTRY
    assert await policies.delete_registry_policy() == REGISTRY
    with pytest.raises(ApiError, match="policy does not exist"):
        await policies.registry_policy()


async def test_a_registry_without_a_policy_is_told_so(policies: PolicyAdministration) -> None:
    for attempt in (policies.registry_policy(), policies.delete_registry_policy()):
        with pytest.raises(ApiError) as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.RegistryPolicyNotFoundException
        assert refused.value.message == "Registry policy does not exist in the registry with id '123456789012'"


async def test_what_is_no_policy_is_refused_and_changes_nothing(policies: PolicyAdministration) -> None:
    await policies.set_repository_policy(NAME, TEXT)
    await policies.set_registry_policy(REGISTRY)

    with pytest.raises(ApiError, match="'Invalid repository policy provided'"):
        await policies.set_repository_policy(NAME, REGISTRY)
    with pytest.raises(ApiError, match="'Invalid registry policy provided'"):
        await policies.set_registry_policy(TEXT)

    assert await policies.repository_policy(NAME) == TEXT
    assert await policies.registry_policy() == REGISTRY
