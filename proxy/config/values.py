"""Types that people write in the configuration: durations and sizes."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_WRONG = "a duration is a number with a unit, such as 30s, 5m or 24h"


def parse_duration(value: object) -> object:
    """Turn ``90s``, ``5m``, ``24h`` or a number of seconds into a timedelta; leave other types to the validator.

    Durations are finite and never negative.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_WRONG)  # noqa: TRY004 - pydantic reports ValueError, not TypeError
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(_WRONG)
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])
    except OverflowError:
        raise ValueError(_WRONG) from None


def format_duration(value: timedelta) -> str:
    """Return a duration as people write it, in the largest unit that holds it in whole numbers."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        whole, rest = divmod(milliseconds, round(_UNITS[unit] * 1000))
        if whole and not rest:
            return f"{whole}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def format_size(value: int) -> str:
    """Return a number of bytes as people write it, in the largest unit that holds it in whole numbers."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        whole, rest = divmod(value, 1024**power)
        if whole and not rest:
            return f"{whole} {unit}"
    return f"{value} B"


def _more_than_nothing(value: timedelta) -> timedelta:
    if not value:
        message = "must be more than 0s"
        raise ValueError(message)
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Size = ByteSize
PositiveDuration = Annotated[Duration, AfterValidator(_more_than_nothing)]
PositiveSize = Annotated[ByteSize, Field(gt=0)]
