"""Texts of IAM policies that stand for others: wildcards and policy variables."""

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Final

_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_WITH_DEFAULT: Final = re.compile(r"\s*([^\s,']+)\s*,\s*'([^']*)'\s*")
_LITERALS: Final = frozenset("*?$")


class IndeterminateError(Exception):
    """Whether something holds cannot be told here (what XACML calls Indeterminate)."""


class _Wild(Enum):
    ANY = "*"
    ONE = "?"


Text = tuple[tuple[str, bool], ...]
"""A text in pieces: each with whether its ``*`` and ``?`` are wildcards."""


def plain(text: str) -> Text:
    """Return a text without variables."""
    return ((text, True),)


def fill(text: str, value: Callable[[str], str | None]) -> Text:
    """Replace policy variables (``${aws:username}``, ``${key, 'default'}``, ``${*}``) by what `value` gives for keys.

    What replaces one is never a wildcard. Raises `IndeterminateError` where a key has no value, and no default.
    """
    pieces: list[tuple[str, bool]] = []
    position = 0
    for found in _VARIABLE.finditer(text):
        pieces += [(text[position : found.start()], True), (_value(found[1], value), False)]
        position = found.end()
    pieces.append((text[position:], True))
    if any("${" in piece for piece, written in pieces if written):
        raise IndeterminateError
    return tuple(pieces)


def exact(text: Text) -> str:
    """Return the text where wildcards mean nothing."""
    return "".join(piece for piece, _ in text)


@lru_cache(maxsize=4096)
def like(pattern: Text, text: str) -> bool:
    """Tell whether `text` fits a pattern, in which ``*`` is any part and ``?`` one character.

    The time is bounded by the product of both lengths.
    """
    tokens = [_Wild(each) if written and each in "*?" else each for piece, written in pattern for each in piece]
    at = place = 0
    # Where the last star was, and how far it reaches: only that may have to reach further.
    star, reached = -1, 0
    while at < len(text):
        token = tokens[place] if place < len(tokens) else None
        if token is _Wild.ANY:
            star, reached = place, at
            place += 1
        elif token is _Wild.ONE or token == text[at]:
            place += 1
            at += 1
        elif star >= 0:
            reached += 1
            place, at = star + 1, reached
        else:
            return False
    return all(token is _Wild.ANY for token in tokens[place:])


def _value(written: str, value: Callable[[str], str | None]) -> str:
    if written in _LITERALS:
        return written
    default = _WITH_DEFAULT.fullmatch(written)
    found = value(default[1] if default is not None else written.strip())
    if found is not None:
        return found
    if default is None:
        raise IndeterminateError
    return default[2]
