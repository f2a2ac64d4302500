"""Replication and account settings."""

import pytest

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.registry import (
    DESTINATIONS_LIMIT,
    SETTINGS,
    Destination,
    RegistryAdministration,
    ReplicationRule,
)
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.storage.metadata.memory import MemoryMetadataStore

IDENTITY = RegistryIdentity("123456789012", "eu-west-1")
ELSEWHERE = Destination("us-east-1", IDENTITY.account)


@pytest.fixture
def registry() -> RegistryAdministration:
    return RegistryAdministration(MemoryMetadataStore(), IDENTITY)


async def test_replication_is_shown_as_it_was_said(registry: RegistryAdministration) -> None:
    assert await registry.replication() == ()
    rules = (
        ReplicationRule((ELSEWHERE, Destination("eu-west-1", "999999999999")), ("prod", "team-"), deletes=False),
        ReplicationRule((ELSEWHERE,)),
        ReplicationRule((), None, deletes=True),
    )

    await registry.set_replication(rules)
    assert await registry.replication() == rules

    await registry.set_replication([])
    assert await registry.replication() == ()


async def test_a_registry_is_not_replicated_to_itself(registry: RegistryAdministration) -> None:
    own = Destination(IDENTITY.region, IDENTITY.account)

    with pytest.raises(ApiError, match="cannot be the same as the source registry") as refused:
        await registry.set_replication([ReplicationRule((ELSEWHERE,)), ReplicationRule((ELSEWHERE, own))])

    assert refused.value.code is ApiErrorCode.InvalidParameterException
    assert await registry.replication() == ()


async def test_destinations_are_counted_once(registry: RegistryAdministration) -> None:
    most = tuple(Destination(f"region-{number}", IDENTITY.account) for number in range(DESTINATIONS_LIMIT))
    await registry.set_replication([ReplicationRule(most), ReplicationRule(most)])

    with pytest.raises(ApiError, match="at most 25"):
        await registry.set_replication([ReplicationRule(most), ReplicationRule((ELSEWHERE,))])


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_setting_is_what_it_was_set_to(registry: RegistryAdministration, name: str) -> None:
    default, other = SETTINGS[name]
    assert await registry.setting(name) == default

    await registry.set_setting(name, other)
    assert await registry.setting(name) == other
    assert {await registry.setting(one) for one in SETTINGS if one != name} == {
        SETTINGS[one][0] for one in SETTINGS if one != name
    }

    with pytest.raises(ApiError, match=f"{default} or {other}") as refused:
        await registry.set_setting(name, default.lower())
    assert refused.value.code is ApiErrorCode.ValidationException
    assert await registry.setting(name) == other


async def test_a_setting_that_aws_does_not_have_is_refused(registry: RegistryAdministration) -> None:
    for attempt in (registry.setting("blob_mounting"), registry.set_setting("blob_mounting", "ENABLED")):
        with pytest.raises(ApiError, match="BLOB_MOUNTING") as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.ValidationException
