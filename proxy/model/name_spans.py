"""Spans of repository names: what of a long list is worth looking at."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

# What names are made of; nothing of it is less than "-", or as great as what ends a span.
_LITERAL: Final = re.compile(r"[a-z0-9._/-]*")
_LEAST: Final = " "
_GREATEST: Final = "\x7f"


class NameSpan(NamedTuple):
    """The names that are greater than `after` and less than `before`, in order of bytes."""

    after: str
    before: str


ALL_NAMES: Final = (NameSpan("", _GREATEST),)
"""The span of all names, as a list of spans."""


def span_of_name(name: str) -> NameSpan | None:
    """Return the span of one name; None for what is none."""
    return NameSpan(_just_before(name), name + _LEAST) if name and _LITERAL.fullmatch(name) else None


def span_of_prefix(prefix: str) -> NameSpan | None:
    """Return the span of the names that begin with `prefix`; None where no name could."""
    if not prefix:
        return ALL_NAMES[0]
    return NameSpan(_just_before(prefix), prefix + _GREATEST) if _LITERAL.fullmatch(prefix) else None


def join_spans(spans: Iterable[NameSpan | None]) -> tuple[NameSpan, ...]:
    """Return spans of the same names, in order and with no name in two of them."""
    joined = list[NameSpan]()
    for span in sorted(span for span in spans if span is not None):
        if joined and span.after < joined[-1].before:
            joined[-1] = NameSpan(joined[-1].after, max(joined[-1].before, span.before))
        else:
            joined.append(span)
    return tuple(joined)


def _just_before(text: str) -> str:
    """Return what is less than `text`, with no name between them."""
    return text[:-1] + chr(ord(text[-1]) - 1) + _GREATEST
