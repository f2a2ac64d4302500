"""Providers behind a forward proxy are asked by it, for both documents, and believed no further than without one."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.auth import OidcSettings
from proxy.core.access.ports import AssertionRefusedError
from proxy.identity.oidc.assertions import OidcAssertions
from proxy.identity.oidc.provider import Outcome, ProviderError, fetch_keys
from proxy.telemetry.metrics import Metrics
from tests.emulators.identity_provider import HOST, IdentityProvider, Route, redirected
from tests.support.certificates import Authority
from tests.support.clock import FakeClock
from tests.support.forward_proxy import ForwardProxy, forwarding

ISSUER = f"https://{HOST}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def provider(clock: FakeClock, authority: Authority) -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider(clock, authority.ca) as provider:
        provider.discovery = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}{Route.KEYS}"}
        yield provider


@pytest.fixture
async def proxy(provider: IdentityProvider) -> AsyncIterator[ForwardProxy]:
    async with forwarding(provider.port) as running:
        yield running


@pytest.fixture
def settings(provider: IdentityProvider, proxy: ForwardProxy, authority: Authority) -> OidcSettings:
    return provider.settings(issuer=ISSUER, ca_file=authority.file, proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}")


async def failure(settings: OidcSettings) -> tuple[Outcome, str]:
    with pytest.raises(ProviderError) as raised:
        await fetch_keys(settings, 60)
    return raised.value.outcome, str(raised.value)


async def test_a_token_is_taken_whose_issuer_only_the_proxy_reaches(
    provider: IdentityProvider, proxy: ForwardProxy, settings: OidcSettings, clock: FakeClock
) -> None:
    async with OidcAssertions([settings], clock, Metrics()) as assertions:
        assert await assertions.verify(provider.mint(iss=ISSUER)) == "oidc:repo:team/app"
    assert provider.asked == [Route.DISCOVERY, Route.KEYS]
    assert all(head.startswith(f"CONNECT {HOST}:443 ") for head in proxy.heads)
    password = base64.b64encode(b"user:hunter2").decode()
    assert all(f"Proxy-Authorization: Basic {password}" in head for head in proxy.heads)
    assert proxy.heads


async def test_without_the_proxy_it_is_not_reached(
    provider: IdentityProvider, proxy: ForwardProxy, settings: OidcSettings, clock: FakeClock
) -> None:
    direct = settings.model_copy(update={"proxy": None})
    async with OidcAssertions([direct], clock, Metrics()) as assertions:
        with pytest.raises(AssertionRefusedError):
            await assertions.verify(provider.mint(iss=ISSUER))
    assert (provider.asked, proxy.heads) == ([], [])


async def test_the_proxy_is_used_for_a_jwks_url_too(
    provider: IdentityProvider, proxy: ForwardProxy, settings: OidcSettings
) -> None:
    named = settings.model_copy(update={"issuer": "https://other.test", "jwks_url": f"{ISSUER}{Route.KEYS}"})
    assert (await fetch_keys(named, 60)).keys
    assert (provider.asked, proxy.hosts) == ([Route.KEYS], {HOST})


@pytest.mark.parametrize("place", ["https://keys.test/keys", f"http://{HOST}/keys", f"https://{HOST}:8443/keys"])
async def test_keys_at_another_origin_are_not_fetched_by_the_proxy_either(
    provider: IdentityProvider, proxy: ForwardProxy, settings: OidcSettings, place: str
) -> None:
    provider.discovery["jwks_uri"] = place
    assert (await failure(settings))[0] is Outcome.INVALID
    assert (provider.asked, len(proxy.heads)) == ([Route.DISCOVERY], 1)


async def test_redirects_are_not_followed_by_the_proxy_either(
    provider: IdentityProvider, proxy: ForwardProxy, settings: OidcSettings
) -> None:
    provider.faults[Route.KEYS] = redirected("https://keys.test/keys")
    assert (await failure(settings))[0] is Outcome.STATUS
    assert proxy.hosts == {HOST}


async def test_the_proxy_cannot_pass_for_the_provider(
    provider: IdentityProvider, settings: OidcSettings, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other").file
    assert (await failure(settings.model_copy(update={"ca_file": other})))[0] is Outcome.UNREACHABLE
    assert provider.asked == []


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"403 Forbidden", b"502 Bad Gateway"])
async def test_a_proxy_that_refuses_is_named(
    provider: IdentityProvider, proxy: ForwardProxy, settings: OidcSettings, status: bytes
) -> None:
    proxy.status = status
    outcome, sentence = await failure(settings)
    assert outcome is Outcome.UNREACHABLE
    assert sentence == f"{ISSUER} cannot be asked: its forward proxy (`proxy`) answered {status[:3].decode()}"
    assert provider.asked == []


async def test_a_proxy_that_is_down_is_named(settings: OidcSettings) -> None:
    down = settings.model_copy(update={"proxy": "http://user:hunter2@127.0.0.1:1"})
    assert await failure(down) == (
        Outcome.UNREACHABLE,
        f"{ISSUER} cannot be asked: its forward proxy (`proxy`) cannot be reached",
    )
