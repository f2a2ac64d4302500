"""The `Assertions` port: tokens of the identity providers that the settings name."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import jwt

from proxy.config.auth import OidcSettings
from proxy.core.access.ports import AssertionRefusedError
from proxy.core.ports import Clock
from proxy.core.tasks import Tasks
from proxy.identity.oidc.claims import Demands
from proxy.identity.oidc.jwks import ALGORITHMS, Key
from proxy.identity.oidc.keyring import Keyring
from proxy.identity.oidc.tokens import UnverifiedToken, read_token
from proxy.model.principal import Principal
from proxy.telemetry.metrics import Metrics

_signatures: Final = jwt.PyJWS(ALGORITHMS, {"enforce_minimum_key_length": True})


class OidcAssertions:
    """Verify tokens of `providers`.

    Use as an async context manager: leaving it gives up what is being asked of providers. Entering it asks nothing.
    `seconds` is how long a provider may take to hand its keys over, None for what is usual.
    """

    def __init__(
        self, providers: Sequence[OidcSettings], clock: Clock, metrics: Metrics, *, seconds: float | None = None
    ) -> None:
        self._clock = clock
        self._tasks = Tasks()
        self._issuers: dict[str, list[tuple[Keyring, Demands]]] = {}
        options = {} if seconds is None else {"seconds": seconds}
        for provider in providers:
            keyring = Keyring(provider, clock, metrics, self._tasks, **options)
            self._issuers.setdefault(provider.issuer, []).append((keyring, Demands(provider)))

    async def __aenter__(self) -> Self:
        """Get ready to ask providers for their keys."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Break off what is being asked."""
        await self._tasks.__aexit__(kind, error, trace)

    async def verify(self, token: str) -> Principal:
        """Return whom the token names; see the port.

        Where several providers have one issuer (for several audiences, perhaps), the first that takes it decides.
        """
        unverified = read_token(token)
        if unverified.algorithm not in ALGORITHMS:
            raise AssertionRefusedError("its algorithm is not one that is taken")
        issuer = unverified.claims.get("iss")
        reasons: list[str] = []
        for keyring, demands in self._issuers.get(issuer, []) if isinstance(issuer, str) else []:
            try:
                _verify(unverified, await keyring.find(unverified.key_id, unverified.algorithm))
                return demands.principal_of(unverified.claims, self._clock.now())
            except AssertionRefusedError as refused:
                reasons.append(str(refused))
        raise AssertionRefusedError("; ".join(dict.fromkeys(reasons)) or "its issuer (iss) is none of those configured")


def _verify(token: UnverifiedToken, key: Key) -> None:
    """Raise `AssertionRefusedError` unless the key signed the token. It takes a fraction of a millisecond."""
    try:
        _signatures.decode_complete(token.text, key.material, [token.algorithm])
    except jwt.PyJWTError:
        # Its own words, and what caused it, may quote the token.
        raise AssertionRefusedError("its signature is not that of its issuer's key") from None
