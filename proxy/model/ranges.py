"""The Range header of requests for blobs (RFC 9110 §14)."""

import re
from dataclasses import dataclass

from proxy.model.errors import ErrorCode, ProxyError

_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_ENDLESS = 10**18


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range of bytes: from `first` to `last` inclusive, open where `last` is None.

    Where `first` is None it is a suffix: the last `last` bytes.
    """

    first: int | None
    last: int | None

    @property
    def is_whole(self) -> bool:
        """Tell whether all bytes are meant, whatever the length."""
        return self.first == 0 and self.last is None

    def resolve(self, total: int) -> tuple[int, int]:
        """Return the range as [start, stop) of content that is `total` bytes long, clamped to its end.

        Raises `ProxyError` RANGE_INVALID, with its Content-Range header, where no byte of the content is meant: also
        where `last` is before `first` (RFC 9110 §14.2 lets a server ignore such a range or refuse it).
        """
        if self.first is None:
            start, stop = total - min(self.last or 0, total), total
        else:
            start, stop = self.first, total if self.last is None else min(self.last + 1, total)
        if start >= stop:
            # RFC 9110 §15.5.17: the answer tells the current length of the content.
            raise ProxyError(
                ErrorCode.RANGE_INVALID,
                f"the content has {total} bytes; the requested range holds none of them",
                headers={"Content-Range": f"bytes */{total}"},
            )
        return start, stop


def parse_range(header: str | None) -> ByteRange | None:
    """Return the single range that a Range header asks for, or None where the whole content is to be sent.

    RFC 9110 §14.2 lets a server ignore Range: several ranges, units other than bytes and malformed
    headers are ignored, so that a client gets a 200 it understands, never another part than it asked for.
    """
    unit, separator, ranges = (header or "").partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    # RFC 9110 §5.6.1.2: empty elements of a list are to be ignored.
    elements = [element for element in (part.strip(" \t") for part in ranges.split(",")) if element]
    found = _RANGE.fullmatch(elements[0]) if len(elements) == 1 else None
    if found is None:
        return None
    first, last = _number(found[1]), _number(found[2])
    if first is None:
        return None if last is None else ByteRange(None, last)
    return ByteRange(first, last)


def _number(text: str) -> int | None:
    digits = text.lstrip("0")
    if not text:
        return None
    # No content is that long; the bound keeps hostile digits from costing time.
    return _ENDLESS if len(digits) > len(str(_ENDLESS)) - 1 else int(digits or "0")
