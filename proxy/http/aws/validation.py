"""Whether a JSON value is of a shape of a service's model: members, types, lengths, ranges, patterns, enumerations."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

# The least and the greatest of each: Python's whole numbers have no bounds, those of stores and clients do.
_NUMBERS = {"integer": (-(1 << 31), (1 << 31) - 1), "long": (-(1 << 63), (1 << 63) - 1)}
_FRACTIONS = frozenset({"float", "double", "timestamp"})
_SHOWN = 120


class UnfitError(Exception):
    """A value does not satisfy its shape. `member` is its path, `constraint` a sentence that says what it must be."""

    def __init__(self, member: str, constraint: str) -> None:
        """Keep where and what."""
        super().__init__(f"{member}: {constraint}")
        self.member = member
        self.constraint = constraint


def join(member: str, name: str) -> str:
    """Return the path of what is called `name` inside `member`."""
    return f"{member}.{name}" if member else name


def check(shape: Shape, value: object, member: str = "") -> None:
    """Raise `UnfitError` for the first part of a decoded JSON value that is not of `shape`.

    Members that the model does not know, and null, are as absent: SDKs of other ages send them.
    """
    match shape:
        case StructureShape():
            _check_structure(shape, _expect(value, dict, "a structure", member), member)
        case ListShape():
            items = _expect(value, list, "a list", member)
            _check_range(shape, len(items), "number of entries", member)
            for place, item in enumerate(items):
                check(shape.member, item, join(member, f"{place + 1}.member"))
        case MapShape():
            entries = _expect(value, dict, "a map", member)
            _check_range(shape, len(entries), "number of entries", member)
            for key, item in entries.items():
                check(shape.key, key, join(member, "(a key)"))
                check(shape.value, item, join(member, key[:_SHOWN]))
        case _:
            _check_scalar(shape, value, member)


def _check_structure(shape: StructureShape, given: Mapping[str, Any], member: str) -> None:
    for name in shape.required_members:
        if given.get(name) is None:
            raise UnfitError(join(member, name), "Member must not be null")
    for name, inner in shape.members.items():
        if given.get(name) is not None:
            check(inner, given[name], join(member, name))


def _check_scalar(shape: Shape, value: object, member: str) -> None:
    kind = shape.type_name
    if kind == "boolean":
        _expect(value, bool, "true or false", member)
    elif kind in _NUMBERS:
        least, most = _NUMBERS[kind]
        # In Python, and nowhere else, true is a number.
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UnfitError(member, f"Member must be a whole number from {least} to {most}")
        _check_range(shape, value, "value", member)
    elif kind in _FRACTIONS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise UnfitError(member, "Member must be a number")
        _check_range(shape, value, "value", member)
    elif kind == "blob":
        _expect(value, str, "text in base64", member)
    else:
        _check_text(shape, _expect(value, str, "a string", member), member)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        # A whole number beyond all fractions.
        return False


def _check_text(shape: Shape, text: str, member: str) -> None:
    _check_range(shape, len(text), "length", member)
    choices = shape.metadata.get("enum")
    if choices and text not in choices:
        raise UnfitError(member, f"Member must satisfy enum value set: [{', '.join(choices)}]")
    pattern = shape.metadata.get("pattern")
    # The whole text, whatever anchors the model writes: a `$` of its own would let a final line break pass.
    if pattern and _compiled(pattern).fullmatch(text) is None:
        raise UnfitError(member, f"Member must satisfy regular expression pattern: {pattern}")


def _check_range(shape: Shape, size: float, what: str, member: str) -> None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        raise UnfitError(member, f"Member must have {what} greater than or equal to {least}")
    if most is not None and size > most:
        raise UnfitError(member, f"Member must have {what} less than or equal to {most}")


def _expect(value: object, kind: type, what: str, member: str) -> Any:  # noqa: ANN401 - of `kind`
    if not isinstance(value, kind):
        raise UnfitError(member or "the body", f"Member must be {what}")
    return value


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Services match with Java, whose classes know ASCII only.
    return re.compile(pattern, re.ASCII)
