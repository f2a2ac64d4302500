"""How many pulls an upstream still grants: what Docker Hub tells beside every manifest."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from cachetools import TTLCache

from proxy.core.ports import Clock
from proxy.core.probe_ports import Allowance
from proxy.model.rule import CacheRule
from proxy.telemetry.metrics import Metrics

_RATE = re.compile(r"\s*([0-9]{1,15})\s*(?:;\s*w=([0-9]{1,15}))?\s*")
_LONGEST_READING = 900.0
_ACCOUNTS = 1024
_OK, _TOO_MANY = 200, 429


def allowance_of(headers: Mapping[str, str]) -> Allowance | None:
    """Return what ``ratelimit-limit: 100;w=21600`` and ``ratelimit-remaining: 97;w=21600`` tell, or None."""
    limit = _RATE.fullmatch(headers.get("ratelimit-limit", ""))
    remaining = _RATE.fullmatch(headers.get("ratelimit-remaining", ""))
    if limit is None:
        return None
    window = int(limit[2]) if limit[2] else None
    return Allowance(int(limit[1]), int(remaining[1]) if remaining is not None else None, window)


class _Reading(NamedTuple):
    remaining: int
    until: float


class PullBudgets:
    """Keep what registries tell in ``ratelimit-limit`` and ``ratelimit-remaining``, by registry and account.

    The fields come with answers to HEAD too, which costs no pull. A reading holds for a quarter of an hour, or for
    the window it names if that is shorter: then one check of a kept tag, a HEAD, gets a new one.
    """

    def __init__(self, floor: int, clock: Clock, metrics: Metrics) -> None:
        self._floor = floor
        self._clock = clock
        self._metrics = metrics
        self._readings: TTLCache[tuple[str, str], _Reading] = TTLCache(
            _ACCOUNTS, _LONGEST_READING, timer=clock.monotonic
        )

    def note(self, rule: CacheRule, status: int, headers: Mapping[str, str]) -> None:
        """Read an answer of the registry about a manifest."""
        allowance = allowance_of(headers)
        remaining = allowance.remaining if allowance is not None else None
        if allowance is not None:
            self._metrics.ratelimit_limit.labels(rule.prefix).set(allowance.limit)
        if remaining is not None:
            self._metrics.ratelimit_remaining.labels(rule.prefix).set(remaining)
        # Content without the fields: there is no limit, as for a paid account. And a 429 is remembered by whoever
        # asked; a copy that it keeps from being checked is old because of the upstream, not because of our thrift.
        if status == _TOO_MANY or (remaining is None and status == _OK):
            self._readings.pop(_payer(rule), None)
        if allowance is None or remaining is None or status == _TOO_MANY:
            return
        window = min(allowance.window or _LONGEST_READING, _LONGEST_READING)
        self._readings[_payer(rule)] = _Reading(remaining, self._clock.monotonic() + window)

    def is_low(self, rule: CacheRule) -> bool:
        """Tell whether fewer pulls are left than are kept for what is not stored yet."""
        reading = self._readings.get(_payer(rule))
        return reading is not None and reading.remaining < self._floor and self._clock.monotonic() < reading.until


def _payer(rule: CacheRule) -> tuple[str, str]:
    return rule.upstream.origin, rule.credentials_id
