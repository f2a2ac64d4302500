"""Tokens: what they say, how long, and that nothing else is taken for one."""

import base64
import hmac
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.tokens import BearerTokens, TokenExpiredError
from proxy.core.registry.authorization import RegistryPasswords
from proxy.model.access import Action
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName
from tests.support.clock import FakeClock

KEY, OTHER = b"k" * 32, b"o" * 32
ALICE = Caller(Principal("alice"), Scheme.PASSWORD, "192.0.2.7")
SCOPES = {RepositoryName("team/app"): frozenset({Action.PULL, Action.PUSH})}
FIVE = timedelta(minutes=5)


def test_a_token_names_its_holder_and_what_it_is_good_for(clock: FakeClock) -> None:
    token = BearerTokens(KEY, clock).issue(ALICE, SCOPES, FIVE)
    assert BearerTokens(KEY, clock).verify(token.text) == Caller(
        ALICE.principal, Scheme.PASSWORD, None, SCOPES, token=True
    )
    assert (token.expires_in, token.issued_at) == (300, 1_700_000_000)


def test_anonymous_callers_have_tokens_too(clock: FakeClock) -> None:
    tokens = BearerTokens(KEY, clock)
    caller = tokens.verify(tokens.issue(Caller(), {}, FIVE).text)
    assert caller is not None
    assert (caller.principal, caller.scheme, caller.scopes, caller.token) == (ANONYMOUS, Scheme.NONE, {}, True)


def test_a_ticket_cannot_be_replaced_by_another(clock: FakeClock) -> None:
    tokens = BearerTokens(KEY, clock)
    caller = tokens.verify(tokens.issue(Caller(Principal("alice"), Scheme.TICKET), SCOPES, FIVE).text)
    assert caller is not None
    assert (caller.scheme, caller.token) == (Scheme.TICKET, False)


def test_a_token_that_was_shown_before_names_the_same_and_one_that_was_changed_nobody(clock: FakeClock) -> None:
    tokens = BearerTokens(KEY, clock)
    text = tokens.issue(ALICE, SCOPES, FIVE).text
    first = tokens.verify(text)
    assert first is not None
    assert tokens.verify(text) == first
    assert tokens.verify(f"{text}A") is None
    assert tokens.verify(text[:-1]) is None


def test_a_token_that_was_shown_before_expires_all_the_same(clock: FakeClock) -> None:
    tokens = BearerTokens(KEY, clock)
    text = tokens.issue(ALICE, SCOPES, FIVE).text
    assert tokens.verify(text) is not None
    clock.advance(FIVE.total_seconds())
    for _ in range(2):
        with pytest.raises(TokenExpiredError):
            tokens.verify(text)


@pytest.mark.parametrize(("lifetime", "seconds"), [(1, 60), (60, 60), (60.5, 61), (3600, 3600)])
def test_a_token_is_good_for_its_lifetime_and_never_less_than_a_minute(
    clock: FakeClock, lifetime: float, seconds: int
) -> None:
    tokens = BearerTokens(KEY, clock)
    token = tokens.issue(ALICE, SCOPES, timedelta(seconds=lifetime))
    assert token.expires_in == seconds
    clock.advance(seconds - 0.5)
    assert tokens.verify(token.text) is not None
    clock.advance(0.5)
    with pytest.raises(TokenExpiredError):
        tokens.verify(token.text)


def test_tokens_of_older_keys_are_good_and_new_ones_are_signed_by_the_first(clock: FakeClock) -> None:
    before = BearerTokens(OTHER, clock).issue(ALICE, SCOPES, FIVE)
    tokens = BearerTokens(KEY, clock, OTHER)
    assert tokens.verify(before.text) is not None
    assert BearerTokens(KEY, clock).verify(before.text) is None
    assert BearerTokens(KEY, clock).verify(tokens.issue(ALICE, SCOPES, FIVE).text) is not None


def test_a_password_of_the_registry_is_no_token_although_one_key_signs_both(clock: FakeClock) -> None:
    password = RegistryPasswords(KEY, clock).issue(Principal("alice"))
    assert BearerTokens(KEY, clock).verify(password.text) is None
    token = BearerTokens(KEY, clock).issue(ALICE, SCOPES, FIVE)
    assert RegistryPasswords(KEY, clock).verify(token.text) is None


def signed(document: object) -> str:
    """Return what a holder of the key could make of any document."""
    payload = base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
    digest = hmac.digest(KEY, b"bearer token 1\n" + payload.encode(), "sha256")
    return f"{payload}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "document",
    [
        {"p": "alice", "m": "password", "s": {}, "e": 1_800_000_000, "n": "", "alg": "none"},
        {"p": "alice", "m": "everything", "s": {}, "e": 1_800_000_000, "n": ""},
        {"p": "alice", "m": "password", "s": {"a": ["own"]}, "e": 1_800_000_000, "n": ""},
        {"p": "alice", "m": "password", "s": {}, "n": ""},
        [],
        None,
    ],
)
def test_what_is_signed_but_of_another_form_is_no_token(clock: FakeClock, document: object) -> None:
    assert BearerTokens(KEY, clock).verify(signed(document)) is None


def test_the_form_is_the_one_that_these_tests_think(clock: FakeClock) -> None:
    document = {"p": "alice", "m": "password", "s": {"a": ["pull"]}, "e": 1_800_000_000, "n": ""}
    assert BearerTokens(KEY, clock).verify(signed(document)) is not None


@given(st.data())
def test_a_token_that_was_changed_anywhere_is_none(data: st.DataObject) -> None:
    tokens = BearerTokens(KEY, FakeClock())
    text = tokens.issue(ALICE, SCOPES, FIVE).text
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[at]))
    assert tokens.verify(text[:at] + other + text[at + 1 :]) is None
    assert tokens.verify(text[:at]) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert BearerTokens(KEY, FakeClock()).verify(text) is None


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a" * 100_000, "." * 100_000, "eyJhbGciOiJub25lIn0.e30."])
def test_tokens_of_others_are_none(clock: FakeClock, text: str) -> None:
    assert BearerTokens(KEY, clock).verify(text) is None


def test_a_token_is_in_no_representation(clock: FakeClock) -> None:
    token = BearerTokens(KEY, clock).issue(ALICE, SCOPES, FIVE)
    assert token.text not in repr(token)
