"""Secrets never pass into a log, wherever in an event they stand."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.redaction import redact, redact_text


def cleaned(**event: object) -> Mapping[str, object]:
    return redact(None, "info", event)


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "Authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "password",
        "token",
        "access_token",
        "refresh-token",
        "secret",
        "client_secret",
        "credentials",
        "api_key",
        "X-Amz-Signature",
        "x-amz-security-token",
    ],
)
def test_the_value_of_a_key_that_names_a_secret_is_masked(key: str) -> None:
    assert cleaned(**{key: "hunter2"}) == {key: "***"}
    assert cleaned(headers={key: ["hunter2"]}) == {"headers": {key: "***"}}


@pytest.mark.parametrize("key", ["tokens_left", "path", "repository", "secretary", "author"])
def test_other_keys_are_left_alone(key: str) -> None:
    assert cleaned(**{key: "value"}) == {key: "value"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://u:hunter2@quay.io/v2/", "https://***@quay.io/v2/"),
        ("via http://u:hunt@er2@proxy.example:3128 now", "via http://***@proxy.example:3128 now"),
        ("http://hunter2@h", "http://***@h"),
        ("at https://cdn.example/x?X-Amz-Signature=hunter2&a=b, then", "at https://cdn.example/x?*** then"),
        ("'https://u:hunter2@h/x?y=hunter2'", "'https://***@h/x?***'"),
        ("postgresql://u:hunter2@db/x", "postgresql://***@db/x"),
        ("Basic dTpodW50ZXIy", "Basic ***"),
        ("got Bearer eyJhbGciOi.hunter2.x and left", "got Bearer *** and left"),
        ("bearer  hunter2", "bearer  ***"),
        ("{'Authorization': 'Basic dTpodW50ZXIy'}", "{'Authorization': 'Basic ***'}"),
        ("Authorization: AWS4-hunter2", "Authorization: ***"),
        ("authorization=hunter2,x", "authorization=***,x"),
    ],
)
def test_secrets_inside_text_are_masked(text: str, expected: str) -> None:
    assert redact_text(text) == expected
    assert cleaned(error=ValueError(text)) == {"error": expected}
    assert cleaned(a=[{"b": (text,)}]) == {"a": [{"b": [expected]}]}


@pytest.mark.parametrize(
    "text",
    [
        "https://quay.io/v2/a/b/manifests/latest",
        "GET /v2/docker-hub/library/nginx/manifests/latest?ns=docker.io",
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
        "uses Basic authentication",
        "sha256:0123@abc",
        "me@example.com",
    ],
)
def test_text_without_secrets_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


def test_what_is_no_utf8_becomes_escapes_and_other_letters_stay() -> None:
    assert cleaned(a="x\udce9y", b=["\u00e9"]) == {"a": "x\\udce9y", "b": ["\u00e9"]}


def test_plain_values_stay_what_they_are() -> None:
    event: dict[str, object] = {"a": 1, "b": 1.5, "c": None, "d": True, "e": [], "token": None}
    assert cleaned(**event) == event


def test_nesting_without_end_is_rendered_as_text_and_masked() -> None:
    deep: list[object] = ["https://u:hunter2@h"]
    for _ in range(20):
        deep = [deep]
    assert "hunter2" not in str(cleaned(deep=deep))


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#@\"'<>"), min_size=1),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_no_userinfo_survives_whatever_is_around_it(password: str, before: str, after: str) -> None:
    marked = f"hunter2{password}"
    assert "hunter2" not in redact_text(f"{before} https://user:{marked}@host/{after}")
