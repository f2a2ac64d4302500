"""Types that people write in the configuration: durations, sizes, upstream addresses."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, ByteSize

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: object) -> object:
    """Turn ``90s``, ``5m``, ``24h`` or a number of seconds into a timedelta; leave other types to the validator."""
    if isinstance(value, bool):
        message = "a duration is a number with a unit, such as 30s, 5m or 24h"
        raise ValueError(message)  # noqa: TRY004 - pydantic reports ValueError, not TypeError
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip())
        if found is None:
            message = "a duration is a number with a unit, such as 30s, 5m or 24h"
            raise ValueError(message)
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Size = ByteSize
