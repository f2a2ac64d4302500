"""The form of a token: a signed JWT in its compact form (RFC 7515 §7.1), read within bounds and not yet believed."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from proxy.core.access.ports import AssertionRefusedError
from proxy.model.strict_json import JsonError, check_json

TOKEN_LIMIT: Final = 16 << 10
"""The longest token that is looked at, in characters."""

_DOTS: Final = 2
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
# RFC 8725 §3.11: what the same provider signs for other ends, a logout for example, is no token of a caller.
_TYPES: Final = frozenset({"jwt", "at+jwt"})


class _Header(msgspec.Struct):
    """What of a header counts. Keys that a header brings or names (`jwk`, `jku`, `x5c`, `x5u`) are not even read."""

    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_header = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """What a token says of itself: nothing in it may be believed before its signature is verified."""

    text: str = field(repr=False)
    algorithm: str
    key_id: str | None
    claims: Mapping[str, object] = field(repr=False)


def read_token(text: str) -> UnverifiedToken:
    """Return what is in a token; raise `AssertionRefusedError`.

    What it costs is bounded before anything is taken apart: by the length, and by the number of dots.
    """
    if len(text) > TOKEN_LIMIT:
        raise AssertionRefusedError(f"it is longer than {TOKEN_LIMIT} characters")
    if text.count(".") != _DOTS:
        raise AssertionRefusedError("it has not three parts")
    head, body, signature = text.split(".")
    if _BASE64URL.fullmatch(signature) is None:
        raise AssertionRefusedError("its signature is not base64url")
    try:
        header = _header.decode(_json(head, "header"))
        claims = _claims.decode(_json(body, "body"))
    except (msgspec.MsgspecError, RecursionError):
        raise AssertionRefusedError("its header or its body is not what a token has there") from None
    # RFC 7515 §4.1.11: who does not understand all that is critical refuses; nothing of that kind is understood here.
    if header.crit is not msgspec.UNSET or header.b64 is not msgspec.UNSET:
        raise AssertionRefusedError("its header has extensions")
    if header.typ is not None and header.typ.lower().removeprefix("application/") not in _TYPES:
        raise AssertionRefusedError("it is of a type for other ends")
    return UnverifiedToken(text, header.alg, header.kid, claims)


def _json(part: str, what: str) -> bytes:
    if _BASE64URL.fullmatch(part) is None:
        raise AssertionRefusedError(f"its {what} is not base64url")
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        check_json(raw)
    except binascii.Error:
        raise AssertionRefusedError(f"its {what} is not base64url") from None
    except JsonError as error:
        raise AssertionRefusedError(f"its {what} cannot be read: {error}") from None
    return raw
