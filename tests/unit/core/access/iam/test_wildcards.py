"""Wildcards and variables of IAM policies."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.access.iam.wildcards import IndeterminateError, exact, fill, like, plain

VALUES = {"aws:username": "alice", "star": "*", "empty": ""}


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_text_fits_as_the_regular_expression_says(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    assert like(plain(pattern), text) == (re.fullmatch(expression, text) is not None)


def test_many_stars_come_to_an_end() -> None:
    # The time of a matcher that tries all ways doubles with each star.
    assert not like(plain("*a" * 5000 + "b"), "a" * 255)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("team/${aws:username}/*", "team/alice/*"),
        ("${ aws:username }", "alice"),
        ("${none, 'all'}", "all"),
        ("${aws:username, 'all'}", "alice"),
        ("${none, ''}", ""),
        ("${empty}", ""),
        ("${*}${?}${$}", "*?$"),
        ("$aws {x}", "$aws {x}"),
    ],
)
def test_variables_are_replaced(text: str, filled: str) -> None:
    assert exact(fill(text, VALUES.get)) == filled


@pytest.mark.parametrize("text", ["${none}", "a/${none}/b", "${", "${aws:username", "${${aws:username}}", "${}"])
def test_what_has_no_value_is_untold(text: str) -> None:
    with pytest.raises(IndeterminateError):
        fill(text, VALUES.get)


@pytest.mark.parametrize("text", ["${*}", "${star}", "${none, '*'}"])
def test_what_replaces_a_variable_is_no_wildcard(text: str) -> None:
    pattern = fill(f"a{text}", VALUES.get)
    assert like(pattern, "a*")
    assert not like(pattern, "ab")
