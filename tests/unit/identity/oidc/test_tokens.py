"""The form of a token, before anything in it is believed."""

import base64
import json

import pytest

from proxy.core.access.ports import AssertionRefusedError
from proxy.identity.oidc.tokens import TOKEN_LIMIT, read_token

HEADER = {"alg": "RS256", "kid": "first", "typ": "JWT"}
CLAIMS = {"iss": "https://issuer.test", "sub": "somebody"}


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(header: object = HEADER, claims: object = CLAIMS, signature: str = "c2lnbmVk") -> str:
    return f"{part(header)}.{part(claims)}.{signature}"


def refusal(text: str) -> str:
    with pytest.raises(AssertionRefusedError) as raised:
        read_token(text)
    assert raised.value.__cause__ is None
    return str(raised.value)


def test_a_token_is_read() -> None:
    read = read_token(token())
    assert (read.algorithm, read.key_id, read.claims) == ("RS256", "first", CLAIMS)


def test_a_header_may_name_no_key_and_no_type() -> None:
    assert read_token(token({"alg": "ES256"})).key_id is None


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", "application/JWT"])
def test_tokens_of_callers_are_taken(kind: str) -> None:
    assert read_token(token({**HEADER, "typ": kind})).claims == CLAIMS


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", "", "JWE", "jwt "])
def test_tokens_for_other_ends_are_refused(kind: str) -> None:
    assert refusal(token({**HEADER, "typ": kind})) == "it is of a type for other ends"


def test_neither_text_nor_claims_are_in_its_repr() -> None:
    text = token()
    shown = repr(read_token(text))
    assert text not in shown
    assert "somebody" not in shown


def test_the_longest_token_is_read_and_a_longer_one_is_not() -> None:
    short = len(token(signature=""))
    assert read_token(token(signature="A" * (TOKEN_LIMIT - short))).claims == CLAIMS
    assert refusal(token(signature="A" * (TOKEN_LIMIT - short + 1))) == f"it is longer than {TOKEN_LIMIT} characters"


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "." * 1000, "a.b.c.d.e"])
def test_a_token_has_three_parts(text: str) -> None:
    assert refusal(text) == "it has not three parts"


@pytest.mark.parametrize("head", ["", "=", "e30=", "e3 0", "é", "\ud800", "e30\n", "e30+", "e30/", "a", "abcde"])
def test_parts_are_base64url_without_padding(head: str) -> None:
    assert refusal(f"{head}.{part(CLAIMS)}.AA") == "its header is not base64url"
    assert refusal(f"{part(HEADER)}.{head}.AA") == "its body is not base64url"


@pytest.mark.parametrize("signature", ["", "=", "AA==", "A A", "é", "\ud800", "AA\n", "A+"])
def test_so_is_the_signature(signature: str) -> None:
    assert refusal(token(signature=signature)) == "its signature is not base64url"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b"{",
        b"{}x",
        b"\xff",
        b'{"alg":"RS256","alg":"none"}',
        b'{"alg":NaN}',
        b'{"alg":1e999}',
        b'{"alg":"\\ud800"}',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_parts_are_objects_that_all_readers_understand_alike(raw: bytes) -> None:
    assert refusal(f"{part(raw)}.{part(CLAIMS)}.AA").startswith("its header ") or len(raw) == 0
    assert refusal(f"{part(HEADER)}.{part(raw)}.AA").startswith(("its body ", "its header or its body "))


@pytest.mark.parametrize("header", [{}, {"alg": 1}, {"alg": None}, {"alg": ["RS256"]}, {**HEADER, "kid": 1}])
def test_members_of_the_header_are_of_their_types(header: object) -> None:
    assert refusal(token(header)) == "its header or its body is not what a token has there"


@pytest.mark.parametrize(
    "extension", [{"crit": ["exp"]}, {"crit": []}, {"crit": None}, {"b64": False}, {"b64": True, "crit": ["b64"]}]
)
def test_extensions_are_refused(extension: dict[str, object]) -> None:
    assert refusal(token(HEADER | extension)) == "its header has extensions"
