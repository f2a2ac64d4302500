"""The parser of ``Authorization``: what it takes, and that everything else is refused alike."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.access.credentials import (
    Basic,
    Bearer,
    UnreadableCredentialsError,
    check_user,
    parse_authorization,
)


def basic(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"Basic {basic('alice:secret')}", Basic("alice", "secret")),
        (f"basic {basic('alice:secret')}", Basic("alice", "secret")),
        (f"BASIC   {basic('alice:secret')}", Basic("alice", "secret")),
        (f" Basic {basic('alice:secret')}\t", Basic("alice", "secret")),
        (f"Basic {basic('alice:a:b::')}", Basic("alice", "a:b::")),
        (f"Basic {basic('zoë:пароль 🔑')}", Basic("zoë", "пароль 🔑")),
        (f"Basic {basic(':')}", Basic("", "")),
        (f"Basic {basic('alice:')}", Basic("alice", "")),
        ("Bearer abc.def-ghi_jkl~+/==", Bearer("abc.def-ghi_jkl~+/==")),
        ("bearer x", Bearer("x")),
    ],
)
def test_what_is_taken(value: str, expected: Basic | Bearer) -> None:
    assert parse_authorization([value]) == expected


def test_nothing_is_no_credentials() -> None:
    assert parse_authorization([]) is None


@pytest.mark.parametrize(
    "values",
    [
        [""],
        [" "],
        ["Basic"],
        ["Basic "],
        ["Basic\talice"],
        [f"Basic{basic('a:b')}"],
        [f"Basic {basic('a:b')} x"],
        [f"Basic {basic('a:b')}, Basic {basic('a:b')}"],
        [f"Basic {basic('a:b')}", f"Basic {basic('a:b')}"],
        [f"Basic {basic('a:b')}", "Bearer x"],
        [f"Basic {basic('alice')}"],
        [f"Basic {basic('alice:x').rstrip('=')}"],
        [f"Basic {basic('alice:x')}="],
        ["Basic YTpi="],
        ["Basic YWxpY2U6eB=="],  # bits behind the last byte
        ["Basic YTpi\n"],
        ["Basic YT-i"],
        ["Basic YTp i"],
        [f"Basic {basic(b'a:' + bytes([255]))}"],
        [f"Basic {basic('a:b' + chr(0))}"],
        [f"Basic {basic('a' + chr(10) + ':b')}"],
        [f"Basic {basic('a:b' + chr(0x85))}"],
        [f"Basic {basic('a:b' + chr(0x7F))}"],
        [f"Basic {basic('a:' + 'x' * 20_000)}"],
        ["Bearer"],
        ["Bearer a b"],
        ["Bearer a,b"],
        ['Bearer "a"'],
        ["Bearer =a"],
        ["Bearer тест"],
        [f"Bearer {'x' * 20_000}"],
        ["Digest username=x"],
        ["Negotiate YWJj"],
        ["AWS4-HMAC-SHA256 Credential=AKIA/20240101/us-east-1/ecr/aws4_request"],
        ["Token abc"],
        ["\udcff\udcfe"],
    ],
)
def test_what_is_refused(values: list[str]) -> None:
    with pytest.raises(UnreadableCredentialsError):
        parse_authorization(values)


VALUES = st.text() | st.binary().map(lambda data: f"Basic {basic(data)}") | st.text().map("Bearer {}".format)


@given(st.lists(VALUES, max_size=2))
def test_nothing_else_is_raised(values: list[str]) -> None:
    try:
        found = parse_authorization(values)
    except UnreadableCredentialsError:
        return
    assert found is None or isinstance(found, (Basic, Bearer))


@pytest.mark.parametrize("value", ["Bearer hunter2 x", "Token hunter2", f"Basic {basic('hunter2')}"])
def test_a_refusal_repeats_nothing(value: str) -> None:
    with pytest.raises(UnreadableCredentialsError) as refused:
        parse_authorization([value])
    assert "hunter2" not in str(refused.value)


@given(user=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])), password=st.text())
def test_a_user_reads_the_same_from_header_and_form(user: str, password: str) -> None:
    try:
        expected = check_user(user, password)
        value = f"Basic {basic(f'{user}:{password}')}"
    except (UnreadableCredentialsError, UnicodeEncodeError):
        return
    assert parse_authorization([value]) == expected


@pytest.mark.parametrize(("user", "password"), [("a:b", "c"), ("a\n", "b"), ("a", "b\0"), ("a" * 20_000, "b")])
def test_a_form_is_read_as_strictly(user: str, password: str) -> None:
    with pytest.raises(UnreadableCredentialsError):
        check_user(user, password)


@pytest.mark.parametrize("value", [f"Basic {basic('alice:hunter2')}", "Bearer hunter2"])
def test_secrets_are_in_no_representation(value: str) -> None:
    assert "hunter2" not in repr(parse_authorization([value]))
