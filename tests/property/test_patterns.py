"""Patterns, and what `allow` and `deny` make of them, against regular expressions written from their description."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.addresses import parse_upstream
from proxy.core.rules import Address, RuleSet
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.patterns import NamePattern
from proxy.model.reference import RepositoryName, parse_repository
from proxy.model.rule import CacheRule

# Few letters, so that patterns and names meet often.
segments = st.sampled_from(["a", "b", "ab", "ba", "aab", "a-b"])
names = st.lists(segments, min_size=1, max_size=4).map("/".join)
parts = st.one_of(st.just("**"), segments, st.sampled_from(["*", "a*", "*b", "a*b", "*a*", "*-*", "ab*", "*a*b"]))
patterns = st.lists(parts, min_size=1, max_size=4).map("/".join)


def oracle(pattern: str, name: str) -> bool:
    """Tell by a regular expression over the whole text whether `name` fits."""
    whole = "/".join(
        "[^/]+(?:/[^/]+)*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("/")
    )
    return re.fullmatch(whole, name) is not None


@given(patterns, names)
def test_a_name_fits_as_the_regular_expression_says(pattern: str, name: str) -> None:
    assert NamePattern(pattern).fits(name) == oracle(pattern, name)


@given(st.text("ab*/.-_A", max_size=8))
def test_a_pattern_is_accepted_exactly_where_some_name_could_fit(text: str) -> None:
    try:
        pattern = NamePattern(text)
    except ValueError:
        # Whatever its stars stand for, it is no name. Two stars between slashes are whole segments.
        for word in ("", "a", "ab", "a-b"):
            name = "/".join("a" if part == "**" else part.replace("*", word) for part in text.split("/"))
            try:
                parse_repository(name)
            except ProxyError:
                continue
            assert re.search(r"\*\*[^/]|[^/]\*\*", text)
    else:
        assert pattern.fits(parse_repository(re.sub(r"\*+", "a", text)))


@given(names, st.lists(patterns, max_size=3), st.lists(patterns, max_size=3), st.sampled_from(["", "a", "up/b"]))
def test_a_name_is_pulled_where_nothing_denies_and_something_allows_it(
    name: str, allow: list[str], deny: list[str], upstream_prefix: str
) -> None:
    rule = CacheRule(
        "q", parse_upstream("quay.io"), upstream_prefix=upstream_prefix, allow=tuple(allow), deny=tuple(deny)
    )
    rules = RuleSet([rule])
    upstream = f"{upstream_prefix}/{name}".removeprefix("/")
    denied = any(oracle(pattern, upstream) for pattern in deny)
    allowed = not allow or any(oracle(pattern, upstream) for pattern in allow)
    for address in (
        Address(RepositoryName(f"q/{name}")),
        Address(RepositoryName(name), mirror="q"),
        Address(RepositoryName(upstream), "quay.io"),
    ):
        if address.ns is not None and upstream.startswith("q/"):
            continue
        assert (rules.locate(address).refusal is None) == (allowed and not denied)
        if allowed and not denied:
            assert rules.resolve(address).refusal is None
            continue
        with pytest.raises(ProxyError) as raised:
            rules.resolve(address)
        assert raised.value.code is ErrorCode.DENIED
        assert ("`deny`" in raised.value.message) == denied
