"""Passwords of the registry, which it gives to callers of its API and knows again without having kept them."""

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import Final

import msgspec

from proxy.core.ports import Clock
from proxy.model.principal import Principal

USER: Final = "AWS"
"""The user name that goes with every password."""

LIFETIME: Final = timedelta(hours=12)

# What is signed is never taken for anything else that the same key might sign.
_CONTEXT: Final = b"registry password 1\n"
_NONCE: Final = 12
_LIMIT: Final = 4096


class _Payload(
    msgspec.Struct, forbid_unknown_fields=True, rename={"principal": "p", "issued": "i", "expires": "e", "nonce": "n"}
):
    principal: str
    issued: float
    expires: float
    nonce: str


_decoder = msgspec.json.Decoder(_Payload)


@dataclass(frozen=True, slots=True)
class Password:
    """A password, and until when it is good: seconds since the epoch. It has neither ``:`` nor white space."""

    text: str
    expires_at: float

    @property
    def token(self) -> str:
        """Return it with its user name as ``Authorization: Basic`` takes them."""
        return base64.b64encode(f"{USER}:{self.text}".encode()).decode()


class Standing(Enum):
    """What a password turned out to be."""

    VALID = auto()
    EXPIRED = auto()  # the registry gave it, but longer ago than it is good for
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a password says; `principal` is whom it was given to, None where it is wrong."""

    standing: Standing
    principal: Principal | None = None


class RegistryPasswords:
    """Give passwords and verify them: ``<payload>.<HMAC-SHA256 of the payload>``, both in URL-safe base64.

    `key` signs; passwords that one of the `older` keys signed are good as long as they last. Whoever has a key can make
    passwords. Processes with the same keys know each other's passwords, and those from before a restart.
    """

    def __init__(self, key: bytes, clock: Clock, *older: bytes, lifetime: timedelta = LIFETIME) -> None:
        self._keys = (key, *older)
        self._clock = clock
        self._lifetime = lifetime.total_seconds()

    def issue(self, principal: Principal) -> Password:
        """Return a new password for `principal`."""
        now = self._clock.now()
        payload = _Payload(principal, now, now + self._lifetime, secrets.token_urlsafe(_NONCE))
        signed = _text(msgspec.json.encode(payload))
        return Password(f"{signed}.{_sign(self._keys[0], signed)}", payload.expires)

    def verify(self, text: str) -> Verdict:
        """Return what a password is, whatever text that is; how long that takes tells nothing of the key."""
        signed, _, signature = text.partition(".")
        if len(text) > _LIMIT or not text.isascii():
            return Verdict(Standing.WRONG)
        known = [hmac.compare_digest(_sign(key, signed), signature) for key in self._keys]
        if not any(known):
            return Verdict(Standing.WRONG)
        try:
            payload = _decoder.decode(_bytes(signed))
        except (msgspec.MsgspecError, binascii.Error):  # signed by a version of another form
            return Verdict(Standing.WRONG)
        standing = Standing.VALID if self._clock.now() < payload.expires else Standing.EXPIRED
        return Verdict(standing, Principal(payload.principal))


def _sign(key: bytes, signed: str) -> str:
    return _text(hmac.digest(key, _CONTEXT + signed.encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
