"""Refusals of upstreams, remembered for a moment: clients repeat themselves, upstreams need not hear it."""

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cachetools import TTLCache

from proxy.core.ports import Clock
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import Remote

_SIZE = 50_000


class Asked(StrEnum):
    """What upstreams are asked for. Registries count and limit them apart."""

    MANIFEST = "manifest"
    BLOB = "blob"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: UpstreamError
    until: float
    retry_at: float


class Refusals:
    """Remember certain refusals, in this process, for `ttl` at most.

    A 404 is remembered per reference, a denial per repository, refused credentials per rule, a rate limit per rule
    and kind of content. Whatever may pass in a moment (timeouts, 5xx, nonsense) is not.
    """

    def __init__(self, clock: Clock, ttl: timedelta) -> None:
        self._clock = clock
        self._ttl = ttl.total_seconds()
        self._kept: TTLCache[tuple[str, ...], _Refusal] = TTLCache(_SIZE, self._ttl, timer=clock.monotonic)

    def remember(self, remote: Remote, asked: Asked, subject: str, error: UpstreamError) -> None:
        """Keep `error`, the answer to a request for `subject` (a tag, a digest, the name of a list)."""
        key = _key(remote, asked, subject, error.failure)
        if key is None:
            return
        now = self._clock.monotonic()
        wait = error.retry_after if error.retry_after is not None else self._ttl
        until = now + (min(wait, self._ttl) if error.failure is UpstreamFailure.RATE_LIMITED else self._ttl)
        self._kept[key] = _Refusal(error, until, now + wait)

    def recall(self, remote: Remote, asked: Asked, subject: str) -> UpstreamError | None:
        """Return the refusal that a request for `subject` would meet again, or None.

        The time to wait that a rate limit names runs down from request to request.
        """
        now = self._clock.monotonic()
        for failure in _REMEMBERED:
            key = _key(remote, asked, subject, failure)
            kept = self._kept.get(key) if key is not None else None
            if kept is not None and now < kept.until:
                retry_after = (
                    math.ceil(max(kept.retry_at - now, 1)) if failure is UpstreamFailure.RATE_LIMITED else None
                )
                return UpstreamError(failure, kept.error.message, retry_after=retry_after, debug="from memory")
        return None

    def forget(self, remote: Remote, asked: Asked, subject: str) -> None:
        """Drop what stands against `subject`: it was seen."""
        for failure in _REMEMBERED:
            key = _key(remote, asked, subject, failure)
            if key is not None:
                self._kept.pop(key, None)


_REMEMBERED = (
    UpstreamFailure.CREDENTIALS_REFUSED,
    UpstreamFailure.RATE_LIMITED,
    UpstreamFailure.DENIED,
    UpstreamFailure.NOT_FOUND,
)


def _key(remote: Remote, asked: Asked, subject: str, failure: UpstreamFailure) -> tuple[str, ...] | None:
    # With upstream and account, so that a reload that mends a rule is not held up by what the old one met.
    account = (failure.value, remote.rule.prefix, str(remote.rule.upstream), remote.rule.credentials_id)
    match failure:
        case UpstreamFailure.CREDENTIALS_REFUSED:
            return account
        case UpstreamFailure.RATE_LIMITED:
            return (*account, asked)
        case UpstreamFailure.DENIED:
            return (*account, remote.repository)
        case UpstreamFailure.NOT_FOUND:
            return (*account, remote.repository, asked, subject)
        case _:
            return None
