"""The passwords of users, each computed as rarely as possible: bcrypt costs what a hundred pulls do."""

import asyncio
import hmac
import os
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from cachetools import LRUCache, TTLCache

from proxy.core.access.attempts import Attempts
from proxy.core.access.ports import Users
from proxy.core.ports import Clock
from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks
from proxy.model.errors import ErrorCode, ProxyError, retry_after
from proxy.model.principal import is_plain
from proxy.telemetry.metrics import Metrics

AT_ONCE: Final = max(1, (os.cpu_count() or 1) // 2)
"""Passwords that are computed at the same time: the other processors serve."""

# Those that wait hold up the last of them for some seconds.
_WAITING: Final = 256
_RETRY_SECONDS: Final = 5
_RIGHT: Final = 20_000
_WRONG: Final = 20_000
_NOTED: Final = 64


@dataclass(frozen=True, slots=True)
class _Right:
    digest: bytes
    until: float
    noted: LRUCache[str | None, bool] = field(default_factory=lambda: LRUCache(_NOTED))
    """Addresses from which it came, and which are noted as such."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    user: str
    password: str
    address: str | None
    digest: bytes
    remembered: bool = False


class UserPasswords:
    """Tell whether passwords are right, and compute each once while many ask.

    A password that was right is known for `remember` without being computed again; after that it is computed, but is
    no guess, so that nobody's wrong passwords keep it from being heard. Both end at once when the user's password is
    changed, or the user is removed. What is remembered are digests under a key that no other process has.
    """

    def __init__(
        self, users: Users, attempts: Attempts, tasks: Tasks, clock: Clock, metrics: Metrics, remember: timedelta
    ) -> None:
        self._users = users
        self._attempts = attempts
        self._clock = clock
        self._checks = metrics.password_checks
        self._remember = remember.total_seconds()
        self._key = secrets.token_bytes(32)
        self._right: LRUCache[str, _Right] = LRUCache(_RIGHT)
        self._wrong: TTLCache[bytes, bool] = TTLCache(_WRONG, self._remember, timer=clock.monotonic)
        self._flights = SingleFlight(tasks)
        self._waiting = 0
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def check(self, user: str, password: str, address: str | None, *, stray: bool = False) -> bool:
        """Tell whether it is the user's password.

        `stray` tells that the credentials may be meant for another registry: the same wrong ones count once then,
        however often they come. Raises `ProxyError` TOOMANYREQUESTS where the password is not heard.
        """
        if not is_plain(user):
            return False
        digest = self._digest(user, password)
        known = self._recall(user, digest)
        if known is not None and self._opens(known, user, address):
            return True
        attempt = _Attempt(user, password, address, digest, known is not None)
        if stray and digest in self._wrong:
            self._checks.labels("cached").inc()
            return False
        self._admit(attempt)
        if digest in self._wrong:
            self._checks.labels("cached").inc()
            self._attempts.failed(user, address)
            return False
        # By address: one that is refused says nothing of the others.
        flight = (digest, address)
        if self._flights.flying(flight):
            self._checks.labels("cached").inc()
        elif self._waiting < _WAITING:
            self._waiting += 1
        else:
            self._checks.labels("limited").inc()
            raise ProxyError(
                ErrorCode.TOOMANYREQUESTS,
                "too many passwords are being checked: try again",
                headers=retry_after(_RETRY_SECONDS),
            )
        return await self._flights.do(flight, partial(self._take_turn, attempt))

    async def _take_turn(self, attempt: _Attempt) -> bool:
        try:
            async with self._turns:
                # Others may have shown meanwhile that it is right, or that too many are wrong.
                known = self._recall(attempt.user, attempt.digest)
                if known is not None and self._opens(known, attempt.user, attempt.address):
                    return True
                self._admit(attempt)
                return await self._compute(attempt)
        finally:
            self._waiting -= 1

    async def _compute(self, attempt: _Attempt) -> bool:
        right = await self._users.verify(attempt.user, attempt.password)
        self._checks.labels("right" if right else "wrong").inc()
        if right:
            known = _Right(attempt.digest, self._clock.monotonic() + self._remember)
            self._right[attempt.user] = known
            self._note_home(known, attempt.user, attempt.address)
        else:
            self._wrong[attempt.digest] = True
            self._attempts.failed(attempt.user, attempt.address)
        return right

    def _admit(self, attempt: _Attempt) -> None:
        if attempt.remembered:
            return
        try:
            self._attempts.require(attempt.user, attempt.address)
        except ProxyError:
            self._checks.labels("limited").inc()
            raise

    def _recall(self, user: str, digest: bytes) -> _Right | None:
        kept = self._right.get(user)
        return kept if kept is not None and hmac.compare_digest(kept.digest, digest) else None

    def _opens(self, known: _Right, user: str, address: str | None) -> bool:
        """Tell whether what is remembered is still good; where it is, it is noted where it came from."""
        if self._clock.monotonic() >= known.until:
            return False
        self._checks.labels("cached").inc()
        self._note_home(known, user, address)
        return True

    def _note_home(self, right: _Right, user: str, address: str | None) -> None:
        # Once for each address, not for each request: parsing addresses is dear.
        if address not in right.noted:
            right.noted[address] = True
            self._attempts.succeeded(user, address)

    def _digest(self, user: str, password: str) -> bytes:
        # Names and versions have no NUL; what a client sends as a password may be no valid text.
        text = f"{user}\0{self._users.version(user) or ''}\0{password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
