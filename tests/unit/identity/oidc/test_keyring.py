"""Keys that are kept: when a provider is asked for them, and when not."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from proxy.core.access.ports import AssertionRefusedError
from proxy.core.tasks import Tasks
from proxy.identity.oidc.keyring import Keyring
from proxy.telemetry.metrics import Metrics
from tests.emulators import identity_provider as emulator
from tests.emulators.identity_provider import IdentityProvider, Route
from tests.support.clock import FakeClock

FETCHED = "pullthrough_identity_keys_fetched_total"
HOUR, DAY = 3600, 24 * 3600


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def keyring(provider: IdentityProvider, clock: FakeClock, metrics: Metrics, tasks: Tasks) -> Keyring:
    return Keyring(provider.settings(), clock, metrics, tasks)


async def refusal(keyring: Keyring, key_id: str = "first") -> str:
    with pytest.raises(AssertionRefusedError) as raised:
        await keyring.find(key_id, "RS256")
    return str(raised.value)


def fetched(metrics: Metrics, outcome: str) -> float | None:
    return metrics.registry.get_sample_value(FETCHED, {"provider": "oidc", "outcome": outcome})


async def test_nothing_is_asked_before_a_key_is_needed(
    provider: IdentityProvider, keyring: Keyring, metrics: Metrics, logs: list[EventDict]
) -> None:
    assert provider.asked == []
    assert (await keyring.find("first", "RS256")).id == "first"
    assert provider.asked == [Route.DISCOVERY, Route.KEYS]
    assert fetched(metrics, "fetched") == 1
    assert [(entry["event"], entry["provider"], entry["keys"]) for entry in logs] == [("oidc.keys", "oidc", 1)]


async def test_keys_are_kept_for_an_hour(provider: IdentityProvider, keyring: Keyring, clock: FakeClock) -> None:
    for passed in (0, HOUR - 1):
        clock.advance(passed)
        await keyring.find("first", "RS256")
    assert provider.count(Route.KEYS) == 1
    clock.advance(1)
    await keyring.find("first", "RS256")
    assert provider.count(Route.KEYS) == 2


async def test_a_key_that_was_withdrawn_is_gone_after_an_hour(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock
) -> None:
    await keyring.find("first", "RS256")
    provider.rotate()
    provider.withdraw(provider.keys[0])
    assert (await keyring.find("first", "RS256")).id == "first"
    clock.advance(HOUR)
    assert await refusal(keyring) == "its issuer has no such key, or more than one, for its algorithm"


async def test_many_who_need_the_keys_at_once_share_one_request(provider: IdentityProvider, keyring: Keyring) -> None:
    gate = asyncio.Event()
    provider.faults[Route.KEYS] = emulator.held(gate)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(keyring.find("first", "RS256")) for _ in range(50)]
        await provider.until(lambda: provider.count(Route.KEYS))
        waiting += [group.create_task(keyring.find("first", "RS256")) for _ in range(50)]
        gate.set()
    assert {each.result().id for each in waiting} == {"first"}
    assert provider.asked == [Route.DISCOVERY, Route.KEYS]


async def test_one_who_leaves_does_not_keep_the_others_from_the_keys(
    provider: IdentityProvider, keyring: Keyring
) -> None:
    gate = asyncio.Event()
    provider.faults[Route.KEYS] = emulator.held(gate)
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(keyring.find("first", "RS256"))
        await provider.until(lambda: provider.count(Route.KEYS))
        staying = group.create_task(keyring.find("first", "RS256"))
        leaving.cancel()
        gate.set()
    assert staying.result().id == "first"
    assert provider.count() == 2


async def test_a_new_key_is_fetched_when_a_token_names_it(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock
) -> None:
    await keyring.find("first", "RS256")
    clock.advance(30)
    new = provider.rotate()
    assert (await keyring.find(new.id, "RS256")).id == new.id
    assert provider.count(Route.KEYS) == 2


async def test_a_flood_of_unknown_keys_costs_a_request_each_half_minute(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock
) -> None:
    for number in range(100):
        await refusal(keyring, f"unknown-{number}")
    assert provider.count(Route.KEYS) == 1
    clock.advance(29)
    await asyncio.gather(*(refusal(keyring, f"unknown-{number}") for number in range(100)))
    assert provider.count(Route.KEYS) == 1
    clock.advance(1)
    await asyncio.gather(*(refusal(keyring, f"unknown-{number}") for number in range(100)))
    assert provider.count(Route.KEYS) == 2
    assert (await keyring.find("first", "RS256")).id == "first"


async def test_old_keys_are_used_while_the_provider_is_ill(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock, metrics: Metrics, logs: list[EventDict]
) -> None:
    await keyring.find("first", "RS256")
    provider.faults[Route.KEYS] = emulator.broken()
    clock.advance(HOUR)
    for _ in range(10):
        assert (await keyring.find("first", "RS256")).id == "first"
    assert provider.count(Route.KEYS) == 2
    assert fetched(metrics, "status") == 1
    assert [(entry["event"], entry["log_level"], entry["kept"]) for entry in logs[1:]] == [
        ("oidc.keys_failed", "warning", True)
    ]


async def test_nobody_waits_for_a_provider_that_failed_the_last_time(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock
) -> None:
    await keyring.find("first", "RS256")
    provider.faults[Route.DISCOVERY] = emulator.broken()
    clock.advance(HOUR)
    await keyring.find("first", "RS256")
    gate = asyncio.Event()
    provider.faults[Route.DISCOVERY] = emulator.held(gate)
    clock.advance(30)
    for _ in range(10):
        assert (await keyring.find("first", "RS256")).id == "first"
    await provider.until(lambda: provider.count(Route.DISCOVERY) == 3)
    gate.set()
    await provider.until(lambda: provider.count(Route.KEYS) == 2)


async def test_keys_that_could_not_be_fetched_again_for_a_day_are_not_used(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock
) -> None:
    await keyring.find("first", "RS256")
    provider.faults[Route.DISCOVERY] = emulator.broken()
    clock.advance(DAY - 1)
    await keyring.find("first", "RS256")
    clock.advance(30)
    assert "answered 500" in await refusal(keyring)
    provider.faults.clear()
    clock.advance(5)
    assert (await keyring.find("first", "RS256")).id == "first"


async def test_a_provider_that_has_never_answered_is_asked_every_few_seconds(
    provider: IdentityProvider, keyring: Keyring, clock: FakeClock, metrics: Metrics, logs: list[EventDict]
) -> None:
    await provider.stop()
    for _ in range(10):
        assert "cannot be had" in await refusal(keyring)
    assert fetched(metrics, "unreachable") == 1
    assert [(entry["event"], entry["kept"]) for entry in logs] == [("oidc.keys_failed", False)]
    await provider.resume()
    clock.advance(4)
    assert "cannot be had" in await refusal(keyring)
    clock.advance(1)
    assert (await keyring.find("first", "RS256")).id == "first"
