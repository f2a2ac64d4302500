"""Tokens that the registry gives to callers, and knows again without having kept them."""

import base64
import binascii
import hmac
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec

from proxy.core.access.caller import Caller, Scheme, Scopes
from proxy.core.ports import Clock
from proxy.model.access import Action
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName

# What is signed is never taken for anything else that the same key might sign.
_CONTEXT: Final = b"bearer token 1\n"
_NONCE: Final = 12
# Servers refuse longer header fields, and `issue` never comes near it within the bounds of `parse_scopes`.
_LIMIT: Final = 12 << 10
# Distribution's token specification: a token should never be returned with less than 60 seconds to live.
_SHORTEST: Final = 60


class _Payload(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"principal": "p", "scheme": "m", "scopes": "s", "expires": "e", "nonce": "n"},
):
    principal: str
    scheme: Scheme
    scopes: Mapping[str, frozenset[Action]]
    expires: int
    nonce: str


_decoder = msgspec.json.Decoder(_Payload)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, good for `expires_in` seconds from `issued_at` on (seconds since the epoch). It is URL-safe."""

    text: str = field(repr=False)
    expires_in: int
    issued_at: int


class TokenExpiredError(Exception):
    """This registry gave the token, but longer ago than it is good for."""


class BearerTokens:
    """Give tokens and verify them: ``<payload>.<HMAC-SHA256 of the payload>``, both in URL-safe base64.

    `key` signs; tokens that one of the `older` keys signed are good as long as they last. Whoever has a key can make
    tokens. Processes with the same keys know each other's tokens, and those from before a restart. A token says who
    its holder is, and limits what that principal may do meanwhile; it adds nothing to it.
    """

    def __init__(self, key: bytes, clock: Clock, *older: bytes) -> None:
        self._keys = (key, *older)
        self._clock = clock

    def issue(self, caller: Caller, scopes: Scopes, lifetime: timedelta) -> Token:
        """Return a token for the principal of `caller`, known by its scheme: for `scopes`, and for at least 60 s."""
        now, seconds = math.floor(self._clock.now()), max(_SHORTEST, math.ceil(lifetime.total_seconds()))
        named: dict[str, frozenset[Action]] = {str(name): actions for name, actions in scopes.items()}
        payload = _Payload(caller.principal, caller.scheme, named, now + seconds, secrets.token_urlsafe(_NONCE))
        signed = _text(msgspec.json.encode(payload))
        return Token(f"{signed}.{_sign(self._keys[0], signed)}", seconds, now)

    def verify(self, text: str) -> Caller | None:
        """Return whom a token names, and what it is good for; None for any text that is no token of this registry.

        Raises `TokenExpiredError`. How long it takes tells nothing of the key.
        """
        if len(text) > _LIMIT or not text.isascii():
            return None
        signed, _, signature = text.partition(".")
        known = [hmac.compare_digest(_sign(key, signed), signature) for key in self._keys]
        if not any(known):
            return None
        try:
            payload = _decoder.decode(_bytes(signed))
        except (msgspec.MsgspecError, binascii.Error):  # signed by a version of another form
            return None
        if self._clock.now() >= payload.expires:
            raise TokenExpiredError
        scopes = {RepositoryName(name): actions for name, actions in payload.scopes.items()}
        # A ticket is a link to one thing: its holder has nothing to get another one with.
        token = payload.scheme is not Scheme.TICKET
        return Caller(Principal(payload.principal), payload.scheme, scopes=scopes, token=token)


def _sign(key: bytes, signed: str) -> str:
    return _text(hmac.digest(key, _CONTEXT + signed.encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
