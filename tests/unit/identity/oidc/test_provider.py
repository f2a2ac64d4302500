"""Providers are asked for their keys: where those are, and what is not believed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.config.auth import OidcSettings
from proxy.identity.oidc.jwks import KeySet
from proxy.identity.oidc.provider import DOCUMENT_LIMIT, Outcome, ProviderError, fetch_keys
from tests.emulators import identity_provider as emulator
from tests.emulators.identity_provider import Fault, IdentityProvider, Route
from tests.support.certificates import Authority


async def fetch(settings: OidcSettings, seconds: float = 60) -> KeySet:
    return await fetch_keys(settings, seconds)


async def failure(settings: OidcSettings, seconds: float = 60) -> tuple[Outcome, str]:
    with pytest.raises(ProviderError) as raised:
        await fetch(settings, seconds)
    return raised.value.outcome, str(raised.value)


async def test_the_discovery_document_leads_to_the_keys(provider: IdentityProvider) -> None:
    provider.rotate("ES256")
    assert [key.id for key in (await fetch(provider.settings())).keys] == ["first", "key-1"]
    assert provider.asked == [Route.DISCOVERY, Route.KEYS]


async def test_an_issuer_may_have_a_path_and_end_with_a_slash(provider: IdentityProvider) -> None:
    for issuer in (f"{provider.origin}/realms/one", f"{provider.origin}/"):
        provider.discovery = {"issuer": issuer}
        assert (await fetch(provider.settings(issuer=issuer))).keys


async def test_with_a_jwks_url_nothing_else_is_asked(provider: IdentityProvider) -> None:
    settings = provider.settings(issuer="https://issuer.test", jwks_url=f"{provider.origin}{Route.KEYS}")
    assert (await fetch(settings)).keys
    assert provider.asked == [Route.KEYS]


@pytest.mark.parametrize("issuer", ["https://other.test", "", None, 1, ["x"]])
async def test_the_document_of_another_issuer_is_refused(provider: IdentityProvider, issuer: object) -> None:
    provider.discovery = {"issuer": issuer}
    assert (await failure(provider.settings()))[0] is Outcome.INVALID
    assert provider.asked == [Route.DISCOVERY]


async def test_a_slash_more_is_another_issuer(provider: IdentityProvider) -> None:
    outcome, sentence = await failure(provider.settings(issuer=f"{provider.issuer}/"))
    assert (outcome, sentence.endswith("is that of another issuer")) == (Outcome.INVALID, True)


@pytest.mark.parametrize(
    "place",
    [
        "https://127.0.0.1:{port}/keys",
        "http://localhost:{port}/keys",
        "http://127.0.0.1:1/keys",
        "http://127.0.0.1/keys",
        "http://attacker.test/keys",
        "//127.0.0.1:{port}/keys",
        "/keys",
        "keys",
        "",
        "file:///etc/passwd",
        "http://user@127.0.0.1:{port}/keys",
        "http://127.0.0.1:{port}@attacker.test/keys",
        "http://[::1",
        None,
        1,
    ],
)
async def test_keys_at_another_origin_are_not_fetched(provider: IdentityProvider, place: str | int | None) -> None:
    provider.discovery = {"jwks_uri": place.format(port=provider.port) if isinstance(place, str) else place}
    assert (await failure(provider.settings()))[0] is Outcome.INVALID
    assert provider.asked == [Route.DISCOVERY]


async def test_the_refusal_of_another_origin_names_the_setting_that_permits_it(provider: IdentityProvider) -> None:
    provider.discovery = {"jwks_uri": "https://keys.test/"}
    assert (await failure(provider.settings()))[1].endswith("if that is right, set `jwks_url`")


FAULTS: list[tuple[Fault, Outcome]] = [
    (emulator.redirected(), Outcome.STATUS),
    (emulator.broken(500), Outcome.STATUS),
    (emulator.broken(404), Outcome.STATUS),
    (emulator.broken(204), Outcome.STATUS),
    (emulator.html(), Outcome.INVALID),
    (emulator.huge(), Outcome.INVALID),
    (emulator.answered(b""), Outcome.INVALID),
    (emulator.answered(b"[" * 100_000), Outcome.INVALID),
    (emulator.answered(b"{}"), Outcome.INVALID),
    (emulator.answered(b"\xff\xfe"), Outcome.INVALID),
    (emulator.answered(b"\x1f\x8b\x08\x00", Content_Encoding="gzip"), Outcome.INVALID),
]


@pytest.mark.parametrize("route", [Route.DISCOVERY, Route.KEYS])
@pytest.mark.parametrize(("fault", "outcome"), FAULTS)
async def test_other_answers_are_no_keys(
    provider: IdentityProvider, route: Route, fault: Fault, outcome: Outcome
) -> None:
    provider.faults[route] = fault
    assert (await failure(provider.settings()))[0] is outcome
    assert provider.asked[-1] is route
    provider.faults.clear()
    assert (await fetch(provider.settings())).keys


async def test_a_document_of_the_greatest_length_is_read(provider: IdentityProvider) -> None:
    small = json.dumps({"keys": [key.jwk for key in provider.keys]}).encode()
    provider.faults[Route.KEYS] = emulator.answered(small.ljust(DOCUMENT_LIMIT))
    assert (await fetch(provider.settings())).keys
    provider.faults[Route.KEYS] = emulator.answered(small.ljust(DOCUMENT_LIMIT + 1))
    assert (await failure(provider.settings()))[1].endswith(f"answered more than {DOCUMENT_LIMIT} bytes")


@pytest.mark.parametrize("route", [Route.DISCOVERY, Route.KEYS])
async def test_a_provider_that_does_not_answer_is_given_up(provider: IdentityProvider, route: Route) -> None:
    provider.faults[route] = emulator.held(asyncio.Event())
    assert (await failure(provider.settings(), 0.05))[0] is Outcome.TIMEOUT


async def test_a_provider_that_is_not_there_is_unreachable(provider: IdentityProvider) -> None:
    await provider.stop()
    assert (await failure(provider.settings()))[0] is Outcome.UNREACHABLE


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    async def test_a_provider_is_believed_whose_authority_the_settings_name(self, authority: Authority) -> None:
        async with IdentityProvider(authority=authority.ca) as provider:
            assert (await fetch(provider.settings(ca_file=authority.file))).keys

    async def test_any_other_is_not(self, authority: Authority, tmp_path: Path) -> None:
        async with IdentityProvider(authority=authority.ca) as provider:
            for ca_file in (None, Authority(tmp_path / "other").file):
                assert (await failure(provider.settings(ca_file=ca_file)))[0] is Outcome.UNREACHABLE
            assert provider.asked == []

    @pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"hello", "no certificates in PEM")])
    async def test_a_file_without_authorities_is_told(self, tmp_path: Path, content: bytes | None, why: str) -> None:
        file = tmp_path / "authority.pem"
        if content is not None:
            file.write_bytes(content)
        changes: dict[str, Any] = {"issuer": "https://issuer.test", "audience": "any", "ca_file": file}
        outcome, sentence = await failure(OidcSettings(**changes))
        assert outcome is Outcome.UNREACHABLE
        assert sentence.startswith(f"`ca_file` {file} cannot be used: ")
        assert why in sentence
