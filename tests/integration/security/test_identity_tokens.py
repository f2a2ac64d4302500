"""Tokens that somebody made up: S18, S19 and S24, named after the advisories that taught them.

S18: distribution CVE-2025-24976, a key in the header believed because of its name; and what else a header may claim.
S19: CVE-2025-30204, memory spent on dots. S24: zot CVE-2025-48374, tokens in logs.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from proxy.core.access.ports import AssertionRefusedError
from proxy.identity.oidc.assertions import OidcAssertions
from proxy.telemetry.metrics import Metrics
from tests.emulators import identity_provider as emulator
from tests.emulators.identity_provider import IdentityProvider, Route, SigningKey, private_key
from tests.support.clock import FakeClock

ATTACKERS = SigningKey("first", "RS256", private_key("RS256", 99))


@pytest.fixture
async def provider(clock: FakeClock) -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider(clock) as provider:
        yield provider


@pytest.fixture
async def verifying(provider: IdentityProvider, clock: FakeClock) -> AsyncIterator[OidcAssertions]:
    async with OidcAssertions([provider.settings()], clock, Metrics()) as verifying:
        assert await verifying.verify(provider.mint()) == "oidc:repo:team/app"
        yield verifying


async def refusal(verifying: OidcAssertions, token: str) -> str:
    with pytest.raises(AssertionRefusedError) as raised:
        await verifying.verify(token)
    return str(raised.value)


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(provider: IdentityProvider, header: dict[str, object], signature: bytes = b"") -> str:
    return f"{part(header)}.{part(provider.claims())}.{part(signature)}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS1", "dir", "A128GCM", "RS256 ", "rs256"])
async def test_s18_no_other_algorithm_is_taken(
    provider: IdentityProvider, verifying: OidcAssertions, algorithm: str
) -> None:
    token = forged(provider, {"alg": algorithm, "kid": "first"}, b"signature")
    assert await refusal(verifying, token) == "its algorithm is not one that is taken"
    assert await refusal(verifying, token.rpartition(".")[0] + ".") == "its signature is not base64url"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_s18_a_public_key_is_no_secret(
    provider: IdentityProvider, verifying: OidcAssertions, algorithm: str
) -> None:
    public = provider.keys[0].private.public_key()
    jwk = json.dumps(provider.keys[0].jwk).encode()
    for encoding in (Encoding.PEM, Encoding.DER):
        for secret in (public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo), jwk, b"first"):
            signed = forged(provider, {"alg": algorithm, "kid": "first"}).rpartition(".")[0]
            signature = hmac.digest(secret, signed.encode(), getattr(hashlib, f"sha{algorithm[2:]}"))
            assert await refusal(verifying, f"{signed}.{part(signature)}") == "its algorithm is not one that is taken"


async def test_s18_keys_in_the_header_count_for_nothing(provider: IdentityProvider, verifying: OidcAssertions) -> None:
    leaf = trustme.CA().issue_cert("issuer.test")
    chain = [base64.b64encode(pem.bytes()).decode() for pem in leaf.cert_chain_pems]
    evil = f"{provider.origin}{Route.ELSEWHERE}"
    for header in (
        {"jwk": ATTACKERS.jwk},
        {"jwk": {**ATTACKERS.jwk, "kid": "first"}, "kid": "first"},
        {"jku": evil},
        {"x5u": evil},
        {"x5c": chain},
        {"jku": evil, "x5u": evil, "jwk": ATTACKERS.jwk, "x5c": chain, "kid": "first"},
    ):
        token = ATTACKERS.sign(provider.claims(), header)
        assert await refusal(verifying, token) == "its signature is not that of its issuer's key"
        token = ATTACKERS.sign(provider.claims(), {**header, "kid": "unknown"})
        assert "has no such key" in await refusal(verifying, token)
    assert provider.count(Route.ELSEWHERE) == 0
    assert provider.count() == 2


async def test_s18_a_key_of_another_name_is_not_tried(provider: IdentityProvider, verifying: OidcAssertions) -> None:
    for name in ("second", "", "FIRST", "first ", "first\0", "../first", "*"):
        assert "has no such key" in await refusal(verifying, provider.mint({"kid": name}))


@pytest.mark.parametrize("algorithm", ["RS384", "PS256", "ES256"])
async def test_s18_a_key_is_not_used_for_another_algorithm(
    provider: IdentityProvider, verifying: OidcAssertions, algorithm: str
) -> None:
    foreign = SigningKey("first", algorithm, private_key(algorithm, 99))
    assert "for its algorithm" in await refusal(verifying, foreign.sign(provider.claims(), {}))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other.test"}, "its audience (aud)"),
        ({"aud": None}, "its audience (aud)"),
        ({"aud": ["registry.test.evil"]}, "its audience (aud)"),
        ({"iss": "https://attacker.test"}, "its issuer (iss)"),
        ({"iss": None}, "its issuer (iss)"),
        ({"exp": None}, "it never expires (exp)"),
        ({"exp": 1_600_000_000}, "it has expired (exp)"),
        ({"exp": "9999999999"}, "its claim 'exp' is no time"),
        ({"nbf": 1_800_000_000}, "it is not good yet (nbf)"),
        ({"iat": 1_800_000_000}, "it is not good yet (iat)"),
        ({"sub": None}, "its claim 'sub'"),
        ({"sub": "a b"}, "its claim 'sub'"),
    ],
)
async def test_s18_a_token_for_others_or_another_time_is_refused(
    provider: IdentityProvider, verifying: OidcAssertions, claims: dict[str, object], reason: str
) -> None:
    assert (await refusal(verifying, provider.mint(**claims))).startswith(reason)


async def test_s18_a_token_is_good_for_its_time_only(
    provider: IdentityProvider, verifying: OidcAssertions, clock: FakeClock
) -> None:
    token = provider.mint()
    clock.advance(emulator.LIFETIME - 1)
    assert await verifying.verify(token) == "oidc:repo:team/app"
    clock.advance(1)
    assert await refusal(verifying, token) == "it has expired (exp)"


async def test_s18_no_part_of_a_token_can_be_exchanged(provider: IdentityProvider, verifying: OidcAssertions) -> None:
    mine, admins = provider.mint().split("."), provider.mint(sub="repo:team/admin").split(".")
    swapped = ".".join((mine[0], admins[1], mine[2]))
    assert await refusal(verifying, swapped) == "its signature is not that of its issuer's key"
    for signature in (mine[2][:-2], f"{mine[2]}AA", "AAAA", "_" * 342):
        token = f"{mine[0]}.{mine[1]}.{signature}"
        assert await refusal(verifying, token) == "its signature is not that of its issuer's key"
    assert await refusal(verifying, f"{mine[0]}.{mine[1]}.") == "its signature is not base64url"


async def test_s18_huge_tokens_are_not_read(provider: IdentityProvider, verifying: OidcAssertions) -> None:
    assert "longer than" in await refusal(verifying, provider.mint(padding="x" * 16_384))
    assert "longer than" in await refusal(verifying, "a" * 100_000_000)


async def test_s18_a_provider_that_leads_elsewhere_is_not_followed(
    provider: IdentityProvider, verifying: OidcAssertions, clock: FakeClock
) -> None:
    provider.rotate()
    for route in (Route.DISCOVERY, Route.KEYS):
        provider.faults[route] = emulator.redirected()
        clock.advance(30)
        assert "has no such key" in await refusal(verifying, provider.mint())
    provider.faults.clear()
    provider.discovery = {"jwks_uri": f"http://localhost:{provider.port}{Route.ELSEWHERE}"}
    clock.advance(30)
    assert "has no such key" in await refusal(verifying, provider.mint())
    assert provider.count(Route.ELSEWHERE) == 0


@pytest.mark.parametrize(
    "token",
    [
        "." * 1_000_000,
        "eyJhbGciOiJSUzI1NiJ9" + "." * 1_000_000,
        "a." * 8000,
        "..",
        ".",
        "",
    ],
)
async def test_s19_dots_cost_nothing(provider: IdentityProvider, verifying: OidcAssertions, token: str) -> None:
    asked = provider.count()
    assert await refusal(verifying, token)
    assert provider.count() == asked


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 6000 + b"]" * 6000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"iss":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"exp":' + b"9" * 10_000 + b"}",
        b'{"exp":1e999999}',
        b'{"iss":"a","iss":"b"}',
        b"\xff" * 1000,
    ],
)
async def test_s19_documents_that_are_hard_to_read_are_refused_before_anything_is_asked(
    provider: IdentityProvider, verifying: OidcAssertions, raw: bytes
) -> None:
    asked = provider.count()
    header = part({"alg": "RS256", "kid": "first"})
    for token in (f"{part(raw)}.{part(provider.claims())}.AA", f"{header}.{part(raw)}.AA"):
        assert await refusal(verifying, token)
    assert provider.count() == asked


async def test_s19_a_flood_of_tokens_is_no_flood_of_requests(
    provider: IdentityProvider, verifying: OidcAssertions, clock: FakeClock
) -> None:
    clock.advance(30)
    asked = provider.count(Route.KEYS)
    tokens = [provider.mint({"kid": f"unknown-{number}"}) for number in range(100)]
    await asyncio.gather(*(refusal(verifying, token) for token in tokens))
    assert provider.count(Route.KEYS) == asked + 1


async def test_s24_no_log_and_no_error_holds_a_token_or_a_part_of_it(
    provider: IdentityProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good = provider.mint(email="erika@example.test")
    tokens = [
        good,
        provider.mint({"kid": "unknown"}, email="erika@example.test"),
        provider.mint(aud="other.test", email="erika@example.test"),
        provider.mint(sub="erika secret", email="erika@example.test"),
        ATTACKERS.sign(provider.claims(email="erika@example.test"), {}),
        forged(provider, {"alg": "none"}),
        f"{good}.more",
        good.replace(".", "-", 1),
        f"{good[:-4]}====",
        f"{part(b'{')}.{good.split('.', 1)[1]}",
        good + "a" * 20_000,
    ]
    said = ""
    with capture_logs() as logs:
        async with OidcAssertions([provider.settings()], clock, Metrics()) as verifying:
            for fault in (emulator.broken(), None):
                provider.faults = {} if fault is None else {Route.KEYS: fault}
                for token in tokens:
                    try:
                        said += repr(await verifying.verify(token))
                    except AssertionRefusedError as refused:
                        said += repr((refused, refused.__cause__))
                clock.advance(30)
    said += repr(logs) + caplog.text
    assert "oidc.keys_failed" in said
    assert "oidc:repo:team/app" in said
    pieces = {piece for token in tokens for piece in token.split(".") if len(piece) > 8}
    assert [piece for piece in pieces if piece in said] == []
    assert "erika" not in said
