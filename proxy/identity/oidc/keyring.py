"""The keys of one provider, kept: fetched when first needed, again as they age, and seldom for keys nobody has."""

from typing import Final

import structlog

from proxy.config.auth import OidcSettings
from proxy.core.access.ports import AssertionRefusedError
from proxy.core.ports import Clock
from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks
from proxy.identity.oidc.jwks import Key, KeySet
from proxy.identity.oidc.provider import Outcome, ProviderError, fetch_keys
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_FRESH: Final = 3600.0
# A provider that is ill keeps nobody out who has a token of it, but a key that it withdrew is not good for ever.
_LAST: Final = 24 * 3600.0
# Tokens may name any key: whoever sends them does not decide how often the provider is asked.
_AGAIN: Final = 30.0
_AGAIN_WITHOUT_KEYS: Final = 5.0
_SECONDS: Final = 10.0
_FETCH: Final = "keys of a provider"


class Keyring:
    """Keep the keys of one provider; nothing is fetched before a token needs one.

    At any time one request for them is under way at most, and everybody who needs it waits for the same one. `tasks`
    own it; `seconds` is how long it may take.
    """

    def __init__(
        self,
        provider: OidcSettings,
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        *,
        seconds: float = _SECONDS,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._metrics = metrics
        self._tasks = tasks
        self._flights = SingleFlight(tasks)
        self._seconds = seconds
        self._keys: KeySet | None = None
        self._fetched = self._asked = float("-inf")
        self._fault: str | None = None

    async def find(self, key_id: str | None, algorithm: str) -> Key:
        """Return the key that may have signed a token; raise `AssertionRefusedError` where there is none.

        A key that is not among those kept may be new: then the provider is asked, but not soon again.
        """
        if not self._is_fresh():
            await self._renew(wait=self._fault is None or not self._are_usable())
        if not self._are_usable():
            raise AssertionRefusedError(f"the keys of its issuer cannot be had: {self._fault}")
        found = self._look(key_id, algorithm)
        if found is None:
            await self._renew(wait=True)
            found = self._look(key_id, algorithm)
        if found is None:
            raise AssertionRefusedError("its issuer has no such key, or more than one, for its algorithm")
        return found

    def _look(self, key_id: str | None, algorithm: str) -> Key | None:
        return self._keys.find(key_id, algorithm) if self._keys is not None else None

    def _is_fresh(self) -> bool:
        return self._clock.monotonic() - self._fetched < _FRESH

    def _are_usable(self) -> bool:
        return self._keys is not None and self._clock.monotonic() - self._fetched < _LAST

    async def _renew(self, *, wait: bool) -> None:
        """Have the provider asked, unless that was done a moment ago; with `wait`, until it has answered."""
        again = _AGAIN if self._are_usable() else _AGAIN_WITHOUT_KEYS
        if not self._flights.flying(_FETCH) and self._clock.monotonic() - self._asked < again:
            return
        if wait:
            await self._flights.do(_FETCH, self._fetch)
        elif not self._flights.flying(_FETCH):
            # It failed the last time: those who have old keys do not wait for it to fail again.
            self._tasks.spawn(f"renew the keys of {self._provider.name}", self._flights.do(_FETCH, self._fetch))

    async def _fetch(self) -> None:
        self._asked = self._clock.monotonic()
        try:
            keys = await fetch_keys(self._provider, self._seconds)
        except ProviderError as error:
            self._fault = str(error)
            self._count(error.outcome)
            _log.warning("oidc.keys_failed", provider=self._provider.name, fault=str(error), kept=self._are_usable())
            return
        self._keys, self._fetched, self._fault = keys, self._clock.monotonic(), None
        self._count(Outcome.FETCHED)
        _log.info("oidc.keys", provider=self._provider.name, keys=len(keys.keys))

    def _count(self, outcome: Outcome) -> None:
        self._metrics.identity_keys_fetched.labels(self._provider.name, outcome.value).inc()
