"""Spans hold the names that they are made for, and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.name_spans import ALL_NAMES, NameSpan, join_spans, span_of_name, span_of_prefix

# The least and the greatest signs of names, and those beside the slash.
texts = st.text("-./0_z", max_size=4)
spans = st.one_of(st.builds(span_of_name, texts), st.builds(span_of_prefix, texts))


def holds(span: NameSpan | None, name: str) -> bool:
    return span is not None and span.after < name < span.before


@given(texts, texts.filter(bool))
def test_a_span_of_a_prefix_holds_the_names_that_begin_with_it(prefix: str, name: str) -> None:
    assert holds(span_of_prefix(prefix), name) == name.startswith(prefix)


@given(texts, texts.filter(bool))
def test_a_span_of_a_name_holds_that_name(one: str, name: str) -> None:
    assert holds(span_of_name(one), name) == (one == name)


@given(st.lists(spans, max_size=6), texts.filter(bool))
def test_joined_spans_hold_what_any_of_them_does_and_hold_it_once(given_: list[NameSpan | None], name: str) -> None:
    joined = join_spans(given_)
    assert sum(holds(span, name) for span in joined) == any(holds(span, name) for span in given_)
    assert list(joined) == sorted(joined)


@pytest.mark.parametrize("text", ["Team/", "\0", "a\0", "ä", "a b", "\x7f", "*"])
def test_what_no_name_holds_makes_no_span(text: str) -> None:
    assert (span_of_prefix(text), span_of_name(text)) == (None, None)


def test_the_span_of_all_names_swallows_all_others() -> None:
    assert join_spans([span_of_name("a"), *ALL_NAMES, span_of_prefix("z/")]) == ALL_NAMES
    assert join_spans([None]) == ()
