"""Tokens that the registry gives to callers, and knows again without having kept them."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec
from cachetools import LRUCache

from proxy.core.access.caller import Caller, Scheme, Scopes
from proxy.core.ports import Clock
from proxy.core.signed_text import SignedTexts, new_nonce
from proxy.model.access import Action
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName

_CONTEXT: Final = b"bearer token 1\n"
# Servers refuse longer header fields, and `issue` never comes near it within the bounds of `parse_scopes`.
_LIMIT: Final = 12 << 10
# Distribution's token specification: a token should never be returned with less than 60 seconds to live.
_SHORTEST: Final = 60
_VERIFIED: Final = 4096
"""Tokens that are remembered as verified. Anything else is verified, or refused, each time."""


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


@dataclass(frozen=True, slots=True)
class Token:
    """A token, good for `expires_in` seconds from `issued_at` on (seconds since the epoch). It is URL-safe."""

    text: str = field(repr=False)
    expires_in: int
    issued_at: int


@dataclass(frozen=True, slots=True)
class _Known:
    """Whom a token names that was verified, and until when (seconds since the epoch)."""

    caller: Caller
    expires: int


class TokenExpiredError(Exception):
    """This registry gave the token, but longer ago than it is good for."""


class BearerTokens:
    """Give tokens and verify them; each is a signed text.

    `key` signs; tokens that one of the `older` keys signed are good as long as they last. Processes with the same keys
    know each other's tokens, and those from before a restart. A token says who its holder is, and limits what that
    principal may do meanwhile; it adds nothing to it.
    """

    def __init__(self, key: bytes, clock: Clock, *older: bytes) -> None:
        self._texts = SignedTexts(_Payload, _CONTEXT, (key, *older), _LIMIT)
        self._clock = clock
        # A client shows its token with every request, and to verify it takes as long as all else of an answer.
        self._verified: LRUCache[bytes, _Known] = LRUCache(_VERIFIED)

    def issue(self, caller: Caller, scopes: Scopes, lifetime: timedelta) -> Token:
        """Return a token for the principal of `caller`, known by its scheme: for `scopes`, and for at least 60 s."""
        now, seconds = math.floor(self._clock.now()), max(_SHORTEST, math.ceil(lifetime.total_seconds()))
        named: dict[str, frozenset[Action]] = {str(name): actions for name, actions in scopes.items()}
        payload = _Payload(caller.principal, caller.scheme, named, now + seconds, new_nonce())
        return Token(self._texts.write(payload), seconds, now)

    def verify(self, text: str) -> Caller | None:
        """Return whom a token names, and what it is good for; None for any text that is no token of this registry.

        Raises `TokenExpiredError`. How long it takes tells nothing of the key.
        """
        if not text.isascii():
            return None
        # By its hash: who reads this memory finds no token, and the time of a look-up tells of none.
        name = hashlib.sha256(text.encode()).digest()
        known = self._verified.get(name)
        if known is None:
            payload = self._texts.read(text)
            if payload is None:
                return None
            known = self._verified[name] = _Known(_caller_of(payload), payload.expires)
        if self._clock.now() >= known.expires:
            raise TokenExpiredError
        return known.caller


def _caller_of(payload: _Payload) -> Caller:
    scopes = {RepositoryName(name): actions for name, actions in payload.scopes.items()}
    # A ticket is a link to one thing: its holder has nothing to get another one with.
    token = payload.scheme is not Scheme.TICKET
    return Caller(Principal(payload.principal), payload.scheme, scopes=scopes, token=token)
