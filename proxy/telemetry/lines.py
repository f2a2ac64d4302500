"""Log events as lines of JSON, as fast as that goes without letting a secret through.

Every request makes a line of some twenty members, nearly none of which ever needs masking. So a line is written as it
is, and looked at as a whole: only where it could hold a secret its members are masked one by one, and it is written anew.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from structlog.typing import EventDict, WrappedLogger

from proxy.telemetry.redaction import could_hold_secrets, names_secret, redact

_SHAPES: Final = 1024
"""Sets of keys that are remembered as harmless: those of our own events are some two hundred."""

_encode: Final = msgspec.json.Encoder().encode
_harmless: Final[set[tuple[str, ...]]] = set()
_scalars: Final[set[type]] = {str, int, float, bool, type(None)}


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """Return an event as one line of JSON, without its end; secrets are masked as `redact` does it.

    What every line has comes first, for people read JSON lines too: ``timestamp``, ``level``, ``event``. A structlog
    processor, the last.
    """
    level, name = event.pop("level", None), event.pop("event", None)
    plain = _are_scalars(event.values()) and _are_harmless(tuple(event)) and isinstance(name, str)
    if plain:
        line = _encode({"timestamp": datetime.now(UTC), "level": level, "event": name, **event})
        # JSON escapes none of what is looked for, so whatever is in a member is in the line.
        if not could_hold_secrets(line):
            return line
    masked = redact(None, "", {"event": name, **event})
    return _encode({"timestamp": datetime.now(UTC), "level": level, **masked})


def _are_scalars(values: Iterable[object]) -> bool:
    """Tell whether values are text, numbers, truth values or null: what JSON shows as it is, and nothing inside."""
    types = set(map(type, values))
    if types <= _scalars:
        return True
    # Kinds of text and numbers, of which a program has few: members of enumerations above all.
    _scalars.update(each for each in types if issubclass(each, str | int | float))
    return types <= _scalars


def _are_harmless(keys: tuple[str, ...]) -> bool:
    """Tell whether none of the keys names a secret."""
    if keys in _harmless:
        return True
    if any(map(names_secret, keys)):
        return False
    if len(_harmless) < _SHAPES:
        _harmless.add(keys)
    return True
