"""Patterns of repository names, as operators write them for names that stay here, may be pulled, or may not."""

import re

from proxy.model.errors import ProxyError
from proxy.model.reference import parse_repository

_STARS = re.compile(r"\*+")
_FORM = (
    "a pattern is segments of a repository name joined by /, where * stands for one segment or a part of it, "
    "and ** for all further segments"
)


class NamePattern:
    """A pattern that whole repository names fit or do not.

    It is matched segment by segment: ``*`` stands for one segment or, beside other characters (``lib*``), for any
    part of one, and ``**`` for one or more whole segments. Raises ValueError where no repository name could fit.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = text.split("/")
        if any("**" in part and part != "**" for part in parts):
            raise ValueError(f"{text!r}: ** stands between slashes, not beside other characters; {_FORM}")
        try:
            # A letter is the neighbour that permits most, so this is a name exactly if some name fits.
            parse_repository(_STARS.sub("a", text))
        except ProxyError as error:
            raise ValueError(f"{text!r} fits no name: {_FORM}; {error.message}") from None
        self._segments = tuple(None if part == "**" else tuple(part.split("*")) for part in parts)

    def fits(self, name: str) -> bool:
        """Tell whether a repository name fits; the time is linear in its length for each segment of the pattern."""
        segments = name.split("/")
        # The numbers of leading segments that the pattern, as far as it was read, can stand for.
        reached = {0}
        for part in self._segments:
            if part is None:
                reached = set(range(min(reached) + 1, len(segments) + 1))
            else:
                reached = {at + 1 for at in reached if at < len(segments) and fits_literals(part, segments[at])}
            if not reached:
                return False
        return len(segments) in reached

    def __str__(self) -> str:
        """Return the pattern as it was written."""
        return self.text


def fits_literals(literals: tuple[str, ...], segment: str) -> bool:
    """Tell whether `segment` is the literals in order, with anything, or nothing, between them.

    They are what stands around the stars of a pattern; the time is linear in the length of `segment` for each.
    """
    if len(literals) == 1:
        return segment == literals[0]
    first, *middle, last = literals
    position, end = len(first), len(segment) - len(last)
    if position > end or not segment.startswith(first) or not segment.endswith(last):
        return False
    for literal in middle:
        found = segment.find(literal, position, end)
        if found < 0:
            return False
        position = found + len(literal)
    return True
