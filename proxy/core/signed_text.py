"""Texts that the registry signs, and knows again without having kept them: the form of its passwords and its tokens."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec

P = TypeVar("P", bound=msgspec.Struct)

_NONCE: Final = 12


class SignedTexts(Generic[P]):
    """Write and read payloads as ``<payload>.<HMAC-SHA256 of the payload>``, both in URL-safe base64.

    `context` is signed too, so that no text of one kind is ever taken for one of another that the same key signs. The
    first of `keys` signs; what another one of them signed can still be read. Whoever has a key can make texts. None
    is longer than `limit` characters.
    """

    def __init__(self, kind: type[P], context: bytes, keys: Sequence[bytes], limit: int) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._context = context
        self._keys = keys
        self._limit = limit

    def write(self, payload: P) -> str:
        """Return the payload, signed: letters, digits, ``-``, ``_`` and one ``.``."""
        signed = _text(msgspec.json.encode(payload))
        return f"{signed}.{self._sign(self._keys[0], signed)}"

    def read(self, text: str) -> P | None:
        """Return the payload of a text, None where no key signed it; how long that takes tells nothing of the keys."""
        if len(text) > self._limit or not text.isascii():
            return None
        signed, _, signature = text.partition(".")
        known = [hmac.compare_digest(self._sign(key, signed), signature) for key in self._keys]
        if not any(known):
            return None
        try:
            return self._decoder.decode(_bytes(signed))
        except (msgspec.MsgspecError, binascii.Error):  # signed by a version of another form
            return None

    def _sign(self, key: bytes, signed: str) -> str:
        return _text(hmac.digest(key, self._context + signed.encode(), "sha256"))


def new_nonce() -> str:
    """Return what makes a payload unlike every other one that says the same."""
    return secrets.token_urlsafe(_NONCE)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
