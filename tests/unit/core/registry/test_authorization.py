"""Passwords that the registry gives, and knows again without having kept them."""

import base64
import string
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.registry.authorization import PasswordExpiredError, RegistryPasswords
from proxy.model.principal import ANONYMOUS, Principal
from tests.support.clock import FakeClock

KEY, OTHER = b"k" * 32, b"o" * 32
ALICE = Principal("alice")


@pytest.mark.parametrize("principal", [ANONYMOUS, ALICE, Principal("arn:aws:iam::1:user/Bödvar with spaces")])
def test_a_password_tells_to_whom_it_was_given(clock: FakeClock, principal: Principal) -> None:
    passwords = RegistryPasswords(KEY, clock)
    password = passwords.issue(principal)

    assert passwords.verify(password.text) == principal


@given(principal=st.text(max_size=200).filter(lambda text: text.isprintable()))
def test_a_password_has_no_colon_and_no_space_whoever_it_is_for(principal: str) -> None:
    text = RegistryPasswords(KEY, FakeClock()).issue(Principal(principal)).text

    # What clients split at, or trim: the AWS CLI takes the token apart at each colon.
    assert set(text) <= {*string.ascii_letters, *string.digits, "-", "_", "."}


def test_the_token_is_user_and_password_in_base64(clock: FakeClock) -> None:
    password = RegistryPasswords(KEY, clock).issue(ALICE)

    assert base64.b64decode(password.token, validate=True) == f"AWS:{password.text}".encode()


def test_a_password_is_good_for_twelve_hours(clock: FakeClock) -> None:
    passwords = RegistryPasswords(KEY, clock)
    begun = clock.now()
    password = passwords.issue(ALICE)
    clock.advance(43_199)
    last = passwords.verify(password.text)
    clock.advance(1)

    assert password.expires_at == begun + 43_200
    assert last == ALICE
    with pytest.raises(PasswordExpiredError):
        passwords.verify(password.text)


def test_no_two_passwords_are_the_same(clock: FakeClock) -> None:
    passwords = RegistryPasswords(KEY, clock)

    assert len({passwords.issue(ALICE).text for _ in range(100)}) == 100


def test_a_password_outlives_the_process_that_gave_it(clock: FakeClock) -> None:
    text = RegistryPasswords(KEY, clock).issue(ALICE).text

    assert RegistryPasswords(KEY, clock).verify(text) == ALICE
    assert RegistryPasswords(OTHER, clock).verify(text) is None


def test_a_key_that_signs_no_more_is_known_while_it_is_named(clock: FakeClock) -> None:
    text = RegistryPasswords(KEY, clock).issue(ALICE).text
    changed = RegistryPasswords(OTHER, clock, KEY)

    assert changed.verify(text) == ALICE
    assert RegistryPasswords(OTHER, clock).verify(changed.issue(ALICE).text) == ALICE


def test_a_longer_life_cannot_be_written_into_a_password(clock: FakeClock) -> None:
    passwords = RegistryPasswords(KEY, clock)
    signature = passwords.issue(ALICE).text.partition(".")[2]
    longer = RegistryPasswords(OTHER, clock, lifetime=timedelta(days=365)).issue(ALICE).text.partition(".")[0]

    assert passwords.verify(f"{longer}.{signature}") is None


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "AWS", "a.b", "0" * 10_000, "ö.ö", "\x00.\x00", "e30.", ".e30", "\ud800.a"],
    ids=lambda text: ascii(text[:10]),
)
def test_what_is_no_password_is_wrong(clock: FakeClock, text: str) -> None:
    assert RegistryPasswords(KEY, clock).verify(text) is None


@given(data=st.data())
def test_a_password_with_any_other_character_is_wrong(data: st.DataObject) -> None:
    passwords = RegistryPasswords(KEY, FakeClock())
    text = passwords.issue(ALICE).text
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.sampled_from([*string.ascii_letters, *string.digits, "-", "_", ".", "=", " ", "\n"]))
    for changed in (text[:place] + character + text[place + 1 :], text[:place] + character + text[place:]):
        assert passwords.verify(changed) == (ALICE if changed == text else None)
    assert passwords.verify(text[:place]) is None


def test_what_the_key_signed_for_another_end_is_wrong(clock: FakeClock) -> None:
    passwords = RegistryPasswords(KEY, clock)
    signed, _, signature = passwords.issue(ALICE).text.partition(".")

    assert passwords.verify(f"{signature}.{signed}") is None


def test_a_password_is_in_no_representation(clock: FakeClock) -> None:
    password = RegistryPasswords(KEY, clock).issue(ALICE)

    assert password.text not in repr(password)
    assert password.token not in repr(password)
