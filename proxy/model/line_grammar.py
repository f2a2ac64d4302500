"""Files that people and programs both keep: an entry a line, comments between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class UnfitLineError(ValueError):
    """A line that is no entry; the message is a sentence without the content of the line, `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True, slots=True)
class LineGrammar(Generic[T]):
    """How the entries of a file are written.

    `read_line` returns the entry that a line spells, or raises ValueError with a sentence that shows nothing of what
    could be a secret; `key` returns what names an entry, once in a file. Lines of nothing but white space, and those
    that begin with ``#``, are no entries. Lines end with a line feed, or with carriage return and line feed.
    """

    read_line: Callable[[str], T]
    key: Callable[[T], str]

    def parse(self, text: str) -> dict[str, T]:
        """Return the entries by key, in the order of the file; raise `UnfitLineError` for the first line at fault."""
        found: dict[str, T] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                entry = self._entry(line)
            except ValueError as error:
                raise UnfitLineError(number, str(error)) from None
            if entry is None:
                continue
            key = self.key(entry)
            if key in found:
                raise UnfitLineError(number, f"{key} stands here a second time")
            found[key] = entry
        return found

    def put(self, text: str, key: str, line: str | None) -> str:
        """Return a text that `parse` takes, with `line` in place of the entry `key`, at the end where there is none.

        None removes the entry. All other lines stay as they are.
        """
        lines = text.split("\n")
        places = [place for place, kept in enumerate(lines) if self._named(kept) == key]
        if places:
            ending = "\r" if lines[places[0]].endswith("\r") else ""
            lines[places[0] : places[0] + 1] = [] if line is None else [line + ending]
        elif line is not None:
            # The last one is what follows the last line feed: nothing, unless that is missing.
            lines[-1:] = [line, ""] if not lines[-1] else [lines[-1], line, ""]
        return "\n".join(lines)

    def _named(self, line: str) -> str | None:
        entry = self._entry(line)
        return None if entry is None else self.key(entry)

    def _entry(self, line: str) -> T | None:
        line = line.removesuffix("\r")
        if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
            return None
        return self.read_line(line)
