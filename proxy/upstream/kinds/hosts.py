"""Patterns of host names, compared label by label."""

import re
from functools import cache

_PLACE = {"*": "[a-z0-9_-]+", "#": "[0-9]"}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(_PLACE.get(each) or re.escape(each) for each in pattern))


def host_fits(host: str, pattern: str) -> bool:
    """Tell whether a host, in lower case and without a trailing dot, fits `pattern` from its first to its last label.

    ``*`` stands for one or more characters of one label, never for a dot; ``#`` for a digit. A suffix that merely
    looks right (``x.azurecr.io.evil.test``), or an unanchored one (``evilazurecr.io``), does not fit.
    """
    return _compiled(pattern).fullmatch(host) is not None
