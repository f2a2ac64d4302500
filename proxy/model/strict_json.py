"""JSON that all readers understand alike, found out before its values become objects (RFC 8259)."""

import json
from itertools import accumulate, chain
from operator import itemgetter
from typing import Final

import msgspec

VALUE_LIMIT: Final = 80_000
"""The most values that a document may hold: members of its objects and elements of its arrays, at all levels."""

DEPTH_LIMIT: Final = 100
"""How deep arrays and objects may be nested. What parsers bear depends on how deep their callers are."""

_QUOTES_LIMIT = 4 * VALUE_LIMIT  # two of a string, and two of its key
_BESIDE_STRUCTURE = bytes(set(range(256)) - set(b"[]{},:"))
_BRACKETS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_whole = msgspec.json.Decoder(msgspec.Raw)


class JsonError(ValueError):
    """A text is not JSON, or not such that all readers agree on it; the message is a sentence about "it"."""


def check_json(raw: bytes) -> set[str]:
    """Return the keys of all objects in `raw`.

    Raises `JsonError` unless it is JSON in UTF-8 within the limits, in which no object has a key twice. All loops are
    in C, and none costs more than reading the text before the limits are known to hold.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise JsonError("it is not UTF-8") from error  # RFC 8259 §8.1
    _check_limits(raw)
    try:
        _whole.decode(raw)  # knows NaN and lone surrogates for what they are; json does not
        objects = _objects(text)
    except (msgspec.DecodeError, ValueError) as error:
        raise JsonError("it is not JSON") from error
    except RecursionError as error:
        raise JsonError("it is nested too deeply") from error
    # RFC 8259 §4: of members with one name, some readers take the first and some the last.
    if sum(map(len, objects)) > sum(map(len, map(dict, objects))):
        raise JsonError("an object in it has the same key twice")
    return set(map(itemgetter(0), chain.from_iterable(objects)))


def _check_limits(raw: bytes) -> None:
    # What stands in strings counts here too. It is left out only where that matters.
    structure = raw.translate(None, _BESIDE_STRUCTURE)
    if _values(structure) <= VALUE_LIMIT and _opened(structure) <= DEPTH_LIMIT:
        return
    structure = _without_strings(raw).translate(None, _BESIDE_STRUCTURE)
    # To a value belong a comma or the bracket before it, its colon, and the brackets of its own.
    if len(structure) > 3 * VALUE_LIMIT or _values(structure) > VALUE_LIMIT:
        raise _too_many()
    steps = memoryview(structure.translate(_BRACKETS, b",:")).cast("b")
    if max(accumulate(steps), default=0) > DEPTH_LIMIT:
        raise JsonError(f"it is nested more than {DEPTH_LIMIT} levels deep")


def _values(text: bytes) -> int:
    """Return how many values there are at most: before each of them is a comma or an opening bracket."""
    return text.count(b",") + _opened(text)


def _opened(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _without_strings(raw: bytes) -> bytes:
    """Return `raw` without its strings; exact in JSON, and in other text up to the first fault."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = raw.split(b'"', _QUOTES_LIMIT + 1)
    if len(parts) > _QUOTES_LIMIT + 1:
        raise _too_many()
    return b"".join(parts[::2])


def _objects(text: str) -> list[list[tuple[str, object]]]:
    """Return the members of each object in a text that is known to be JSON."""
    found: list[list[tuple[str, object]]] = []
    # Of numbers the length is enough: those with thousands of digits are slow to make, and Python refuses some.
    json.loads(text, object_pairs_hook=found.append, parse_int=len, parse_float=len)
    return found


def _too_many() -> JsonError:
    return JsonError(f"it holds more than {VALUE_LIMIT} values")
