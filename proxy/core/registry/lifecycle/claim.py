"""One process at a time over the store: who makes the round of the lifecycle policies, and when the next is due."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

import msgspec

from proxy.core.ports import Clock
from proxy.core.registry.ports import Documents

LEASE: Final = 120.0
"""For how many seconds a holder that says nothing more is waited for: it may have been killed."""

_DOCUMENT: Final = "lifecycle-round"


@dataclass(frozen=True, slots=True)
class _Round:
    """Who makes a round ("": nobody), until when unless that is renewed, and when the next one is due."""

    holder: str = ""
    until: float = 0.0
    due: float = 0.0


class RoundClaim:
    """One process's claim to rounds that are `interval` seconds apart.

    It spares work and is no lock: whose lease has run out may still be at it beside the next.
    """

    def __init__(self, documents: Documents, clock: Clock, interval: float) -> None:
        self._documents = documents
        self._clock = clock
        self._interval = interval
        self._id = str(uuid4())

    async def take(self) -> bool:
        """Claim the round if one is due and nobody makes it; tell whether it is ours."""
        now = self._clock.now()

        def free(before: _Round) -> bool:
            # A clock that was set back must not put rounds off for long.
            due = not now < before.due <= now + self._interval
            held = before.holder not in {"", self._id} and now < before.until <= now + LEASE
            return due and not held

        def change(text: str | None) -> str | None:
            before = _decode(text)
            return _encode(replace(before, holder=self._id, until=now + LEASE)) if free(before) else text

        return free(_decode(await self._documents.alter_document(_DOCUMENT, change)))

    async def renew(self) -> bool:
        """Lengthen the lease; tell whether the claim is still ours."""
        until = self._clock.now() + LEASE
        return await self._alter(lambda before: replace(before, until=until))

    async def finish(self) -> bool:
        """End the round: the next one is due after the interval; tell whether the claim was still ours."""
        due = self._clock.now() + self._interval
        return await self._alter(lambda _before: _Round(due=due))

    async def release(self) -> bool:
        """Give up the round unfinished: anybody may begin it at once; tell whether the claim was still ours."""
        return await self._alter(lambda before: _Round(due=before.due))

    async def _alter(self, alter: Callable[[_Round], _Round]) -> bool:
        def change(text: str | None) -> str | None:
            before = _decode(text)
            return _encode(alter(before)) if before.holder == self._id else text

        return _decode(await self._documents.alter_document(_DOCUMENT, change)).holder == self._id


_decoder = msgspec.json.Decoder(_Round)


def _decode(text: str | None) -> _Round:
    return _Round() if text is None else _decoder.decode(text)


def _encode(claim: _Round) -> str:
    return msgspec.json.encode(claim).decode()
