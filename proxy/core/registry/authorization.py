"""Passwords of the registry, which it gives to callers of its API and knows again without having kept them."""

import base64
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec

from proxy.core.ports import Clock
from proxy.core.signed_text import SignedTexts, new_nonce
from proxy.model.principal import Principal

USER: Final = "AWS"
"""The user name that goes with every password."""

LIFETIME: Final = timedelta(hours=12)

_CONTEXT: Final = b"registry password 1\n"
_LIMIT: Final = 4096


class _Payload(
    msgspec.Struct, forbid_unknown_fields=True, rename={"principal": "p", "issued": "i", "expires": "e", "nonce": "n"}
):
    principal: str
    issued: float
    expires: float
    nonce: str


@dataclass(frozen=True, slots=True)
class Password:
    """A password, and until when it is good: seconds since the epoch. It has neither ``:`` nor white space."""

    text: str = field(repr=False)
    expires_at: float

    @property
    def token(self) -> str:
        """Return it with its user name as ``Authorization: Basic`` takes them."""
        return base64.b64encode(f"{USER}:{self.text}".encode()).decode()


class PasswordExpiredError(Exception):
    """The registry gave the password, but longer ago than it is good for."""


class RegistryPasswords:
    """Give passwords and verify them; each is a signed text.

    `key` signs; passwords that one of the `older` keys signed are good as long as they last. Processes with the same
    keys know each other's passwords, and those from before a restart.
    """

    def __init__(self, key: bytes, clock: Clock, *older: bytes, lifetime: timedelta = LIFETIME) -> None:
        self._texts = SignedTexts(_Payload, _CONTEXT, (key, *older), _LIMIT)
        self._clock = clock
        self._lifetime = lifetime.total_seconds()

    def issue(self, principal: Principal) -> Password:
        """Return a new password for `principal`."""
        now = self._clock.now()
        payload = _Payload(principal, now, now + self._lifetime, new_nonce())
        return Password(self._texts.write(payload), payload.expires)

    def verify(self, text: str) -> Principal | None:
        """Return whom a password was given to; None for any text that is no password of this registry.

        Raises `PasswordExpiredError`. How long it takes tells nothing of the key.
        """
        payload = self._texts.read(text)
        if payload is None:
            return None
        if self._clock.now() >= payload.expires:
            raise PasswordExpiredError
        return Principal(payload.principal)
