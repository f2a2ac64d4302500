"""Tokens of several providers, and whom they name."""

import asyncio

import pytest

from proxy.config.auth import OidcSettings
from proxy.core.access.ports import AssertionRefusedError, Assertions
from proxy.identity.oidc.assertions import OidcAssertions
from proxy.telemetry.metrics import Metrics
from tests.emulators import identity_provider as emulator
from tests.emulators.identity_provider import IdentityProvider, Route
from tests.support.clock import FakeClock


def assertions(clock: FakeClock, *settings: OidcSettings) -> OidcAssertions:
    return OidcAssertions(settings, clock, Metrics())


async def refusal(of: Assertions, token: str) -> str:
    with pytest.raises(AssertionRefusedError) as raised:
        await of.verify(token)
    assert raised.value.__cause__ is None
    return str(raised.value)


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)
async def test_a_token_names_whom_its_claims_say(provider: IdentityProvider, clock: FakeClock, algorithm: str) -> None:
    provider.rotate(algorithm)
    settings = provider.settings(name="ci", principal="{repository}", claims={"ref": "refs/heads/*"})
    async with assertions(clock, settings) as verifying:
        token = provider.mint(repository="team/app", ref="refs/heads/main")
        assert await verifying.verify(token) == "ci:team/app"
        assert "'ref'" in await refusal(verifying, provider.mint(repository="team/app", ref="refs/tags/1"))


async def test_a_token_without_the_name_of_its_key_is_taken_where_one_fits(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    provider.rotate("ES256")
    async with assertions(clock, provider.settings()) as verifying:
        assert await verifying.verify(provider.mint({"kid": None})) == "oidc:repo:team/app"
        provider.rotate("ES256")
        clock.advance(3600)
        assert "more than one" in await refusal(verifying, provider.mint({"kid": None}))


async def test_entering_and_leaving_asks_nobody(provider: IdentityProvider, clock: FakeClock) -> None:
    async with assertions(clock, provider.settings()):
        pass
    assert provider.asked == []


async def test_the_issuer_of_a_token_decides_who_is_asked(provider: IdentityProvider, clock: FakeClock) -> None:
    async with (
        IdentityProvider(clock) as second,
        assertions(clock, provider.settings(name="one"), second.settings(name="two")) as verifying,
    ):
        second.rotate("ES256")
        assert await verifying.verify(second.mint()) == "two:repo:team/app"
        assert provider.asked == []
        assert await verifying.verify(provider.mint()) == "one:repo:team/app"
        assert second.count(Route.KEYS) == 1
        # Each is believed for itself only.
        assert await refusal(verifying, second.mint(iss=provider.issuer)) != ""


@pytest.mark.parametrize("issuer", [None, "", "https://attacker.test", ["x"], {"a": 1}, 1])
async def test_other_issuers_are_never_asked(provider: IdentityProvider, clock: FakeClock, issuer: object) -> None:
    async with assertions(clock, provider.settings()) as verifying:
        key = provider.keys[0]
        token = key.sign({**provider.claims(), "iss": issuer} if issuer is not None else {}, {})
        assert await refusal(verifying, token) == "its issuer (iss) is none of those configured"
    assert provider.asked == []


async def test_one_issuer_may_have_several_audiences(provider: IdentityProvider, clock: FakeClock) -> None:
    settings = [provider.settings(name=name, audience=name, principal="{sub}") for name in ("builds", "deploys")]
    async with assertions(clock, *settings) as verifying:
        assert await verifying.verify(provider.mint(aud="deploys")) == "deploys:repo:team/app"
        assert await verifying.verify(provider.mint(aud=["deploys", "builds"])) == "builds:repo:team/app"
        reason = await refusal(verifying, provider.mint(aud="other"))
        assert reason == "its audience (aud) is not 'builds'; its audience (aud) is not 'deploys'"


async def test_a_signature_of_another_key_is_refused(provider: IdentityProvider, clock: FakeClock) -> None:
    async with assertions(clock, provider.settings()) as verifying:
        foreign = emulator.SigningKey("first", "RS256", emulator.private_key("RS256", 9))
        token = foreign.sign(provider.claims(), {})
        assert await refusal(verifying, token) == "its signature is not that of its issuer's key"


async def test_leaving_breaks_off_what_is_being_asked(provider: IdentityProvider, clock: FakeClock) -> None:
    provider.faults[Route.KEYS] = emulator.held(asyncio.Event())
    async with asyncio.TaskGroup() as group, assertions(clock, provider.settings()) as verifying:
        waiting = group.create_task(verifying.verify(provider.mint()))
        await provider.until(lambda: provider.count(Route.KEYS))
    assert waiting.cancelled()


async def test_a_provider_may_be_given_less_time(provider: IdentityProvider, clock: FakeClock) -> None:
    provider.faults[Route.KEYS] = emulator.held(asyncio.Event())
    async with OidcAssertions([provider.settings()], clock, Metrics(), seconds=0.05) as verifying:
        assert "did not answer" in await refusal(verifying, provider.mint())
