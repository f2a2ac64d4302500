"""Tokens of identity providers, mutated: whatever they are, they are refused in one way."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.access.ports import AssertionRefusedError
from proxy.identity.oidc.assertions import OidcAssertions
from proxy.identity.oidc.jwks import ALGORITHMS, KeySet, UnusableKeysError
from proxy.identity.oidc.tokens import read_token
from proxy.model.principal import Principal
from proxy.telemetry.metrics import Metrics
from tests.emulators.identity_provider import AUDIENCE, IdentityProvider
from tests.support.clock import FakeClock

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "iss", "aud", "exp", "nbf", "sub"])
objects = st.dictionaries(names | st.text(max_size=6), values, max_size=8)
base64url = st.text("ABCxyz019-_=+/. \n\u00e9\ud800", max_size=40)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Judge:
    """A provider that serves a loop of its own, so that many examples ask one that is running."""

    def __init__(self) -> None:
        self.clock = FakeClock()

    @contextmanager
    def sitting(self) -> Iterator["Judge"]:
        with asyncio.Runner() as runner:
            self._runner = runner
            self.provider = IdentityProvider(self.clock)
            runner.run(self.provider.__aenter__())
            self.verifying = OidcAssertions([self.provider.settings()], self.clock, Metrics())
            runner.run(self.verifying.__aenter__())
            try:
                yield self
            finally:
                runner.run(self.verifying.__aexit__(None, None, None))
                runner.run(self.provider.stop())

    def verdict(self, token: str) -> Principal | None:
        """Return whom a token names; None where it is refused. Nothing else is raised."""
        try:
            return self._runner.run(self.verifying.verify(token))
        except AssertionRefusedError:
            return None


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge().sitting() as judge:
        yield judge


many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(st.text(max_size=200) | st.lists(base64url, min_size=3, max_size=3).map(".".join))
def test_text_is_refused(judge: Judge, text: str) -> None:
    assert judge.verdict(text) is None


@many
@given(header=objects, claims=values, signature=st.binary(max_size=300))
def test_what_nobody_signed_is_refused(judge: Judge, header: object, claims: object, signature: bytes) -> None:
    signed = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    assert judge.verdict(f"{part(header)}.{part(claims)}.{signed}") is None


@many
@given(algorithm=st.sampled_from(ALGORITHMS), key=st.sampled_from(["first", None, "other"]), signature=st.binary())
def test_what_is_right_but_for_its_signature_is_refused(
    judge: Judge, algorithm: str, key: str | None, signature: bytes
) -> None:
    signed = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    header = part({"alg": algorithm, "kid": key})
    assert judge.verdict(f"{header}.{part(judge.provider.claims())}.{signed}") is None


@many
@given(place=st.integers(0), other=st.characters(codec="utf-8") | st.sampled_from("AZaz09-_.="))
def test_a_token_with_one_other_character_is_refused(judge: Judge, place: int, other: str) -> None:
    token = judge.provider.mint()
    at = place % len(token)
    changed = token[:at] + other + token[at + 1 :]
    assert judge.verdict(token) == "oidc:repo:team/app"
    assert (judge.verdict(changed) is None) == (changed != token)


@many
@given(place=st.integers(0), length=st.integers(0, 40), more=base64url)
def test_a_token_with_something_cut_out_or_put_in_is_refused(judge: Judge, place: int, length: int, more: str) -> None:
    token = judge.provider.mint()
    at = place % (len(token) + 1)
    changed = token[:at] + more + token[at + length :]
    assert (judge.verdict(changed) is None) == (changed != token)


@many
@given(claims=objects)
def test_signed_claims_of_any_kind_make_a_fit_principal_or_none(judge: Judge, claims: dict[str, object]) -> None:
    token = judge.provider.keys[0].sign({**judge.provider.claims(), **claims}, {})
    principal = judge.verdict(token)
    if principal is not None:
        audience = claims.get("aud", AUDIENCE)
        assert audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)
        assert principal.startswith("oidc:")
        assert principal.isprintable()
        assert not any(map(str.isspace, principal))
        assert len("oidc:") < len(principal) <= 256


@many
@given(st.text() | objects.map(lambda header: f"{part(header)}.{part({})}.AA"))
def test_reading_raises_nothing_else(text: str) -> None:
    try:
        read_token(text)
    except AssertionRefusedError as refused:
        assert refused.__cause__ is None  # noqa: PT017 - what is not refused is fine, too


jwks = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"]) | values},
    optional={
        name: values | st.sampled_from(["AQAB", "P-256", "Ed25519", "sig", "", "A" * 43]) | base64url
        for name in ("kid", "use", "alg", "crv", "n", "e", "x", "y", "d", "key_ops")
    },
)


@many
@given(st.lists(jwks | values, max_size=4))
def test_sets_of_keys_are_read_or_refused(keys: list[object]) -> None:
    try:
        found = KeySet.parse(json.dumps({"keys": keys}).encode("utf-8", "surrogatepass"))
    except UnusableKeysError:
        return
    assert 0 < len(found.keys) <= len(keys)


@many
@given(st.binary(max_size=100))
def test_bytes_are_no_set_of_keys(raw: bytes) -> None:
    with pytest.raises(UnusableKeysError):
        KeySet.parse(raw)
