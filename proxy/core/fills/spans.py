"""Which bytes of a blob were written ahead of the watermark, and which are missing."""

from typing import NamedTuple


class Span(NamedTuple):
    """The bytes [start, stop) of a blob."""

    start: int
    stop: int


class Spans:
    """A set of bytes as spans in order, none of which touches another."""

    def __init__(self) -> None:
        """Start empty."""
        self._spans: list[Span] = []

    def __bool__(self) -> bool:
        """Tell whether there is a byte."""
        return bool(self._spans)

    def add(self, start: int, stop: int) -> None:
        """Put in [start, stop)."""
        touching = [span for span in self._spans if span.start <= stop and span.stop >= start]
        apart = [span for span in self._spans if span.start > stop or span.stop < start]
        merged = Span(min([start, *(span.start for span in touching)]), max([stop, *(span.stop for span in touching)]))
        self._spans = sorted([*apart, merged])

    def reach(self, position: int) -> int:
        """Drop all spans that begin at or before `position`; return how far they go on without a hole, or it."""
        while self._spans and self._spans[0].start <= position:
            position = max(position, self._spans.pop(0).stop)
        return position

    def missing(self, start: int, stop: int) -> list[Span]:
        """Return the parts of [start, stop) that are not in the set, in order."""
        found: list[Span] = []
        for span in self._spans:
            if start < span.start:
                found.append(Span(start, min(span.start, stop)))
            start = max(start, span.stop)
        if start < stop:
            found.append(Span(start, stop))
        return found

    def clear(self) -> None:
        """Drop everything."""
        self._spans.clear()
