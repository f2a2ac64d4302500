"""The last defence of secrets: what looks like one never gets into a log, whoever wrote it there."""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

MASK = "***"
_DEPTH = 6

_SECRET_KEY = re.compile(
    r"(?:^|[-_.])(?:authorization|cookie|set-cookie|password|passwd|secret|token|credential|credentials|signature"
    r"|api[-_]?key|private[-_]?key)s?$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#@\"'<>]*(?:@[^\s/?#@\"'<>]*)*@", re.IGNORECASE)
# A signed URL is a key to what it points to, and the signature stands in the query.
_QUERY = re.compile(r"(\bhttps?://[^\s?#\"'<>]*\?)[^\s\"'<>]+", re.IGNORECASE)
# RFC 9110 §11.4: credentials are a scheme and a token68. English words after "basic" have no digit and no sign.
_SCHEME = re.compile(r"\b(basic|bearer)(\s+)(?!realm=)(?=[A-Za-z]*[0-9+/=._~-])[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE)
_HEADER = re.compile(
    r"""(\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?)(?!(?:basic|bearer)\s)[^\s"',]+""", re.IGNORECASE
)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets in a log event (a structlog processor, the last before the renderer).

    Values of keys that name a secret become ``***``; in text, user and password of URLs, queries of http URLs, and
    Basic and Bearer credentials do. Other values than plain data become text, so that nothing is rendered unseen.
    """
    for key, value in event.items():
        event[key] = _clean(key, value, _DEPTH)
    return event


def could_hold_secrets(text: str) -> bool:
    """Tell whether `redact_text` could find anything to mask in `text`, or in a part of it."""
    if "://" in text:
        return True
    folded = text.lower()
    return "basic" in folded or "bearer" in folded or "authorization" in folded


def redact_text(text: str) -> str:
    """Return `text` with everything that looks like a secret masked; what is no UTF-8 stands there as escapes."""
    if not text.isascii():
        # Header fields may hold any bytes, and those that are no UTF-8 cannot be written as such.
        text = text.encode(errors="backslashreplace").decode()
    # Nearly all texts are without any: the substring tests cost a hundredth of the patterns.
    if not could_hold_secrets(text):
        return text
    text = _USERINFO.sub(rf"\g<1>{MASK}@", text)
    text = _QUERY.sub(rf"\g<1>{MASK}", text)
    text = _SCHEME.sub(rf"\g<1>\g<2>{MASK}", text)
    return _HEADER.sub(rf"\g<1>{MASK}", text)


@lru_cache(maxsize=1024)
def _names_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _clean(key: object, value: object, depth: int) -> object:
    if value is None:
        return None
    if isinstance(key, str) and _names_secret(key):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, int | float):
        return value
    if depth and isinstance(value, Mapping):
        return {redact_text(str(inner)): _clean(inner, item, depth - 1) for inner, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_clean(None, item, depth - 1) for item in value]
    return redact_text(str(value))
