"""Passwords for Amazon ECR: tokens of GetAuthorizationToken, renewed before their twelve hours are over."""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from proxy.core.ports import Clock
from proxy.core.single_flight import SingleFlight
from proxy.model.credentials import EcrCredentials
from proxy.model.errors import UpstreamError
from proxy.model.rule import CacheRule
from proxy.upstream.credential import Credential, NoCredentialError
from proxy.upstream.kinds import kind_of

_log = structlog.get_logger(__name__)

_EARLY = 1 / 12
"""The part of a token's life before whose end it is renewed: an hour of twelve."""
_RETRY_AFTER = 60.0


class _Key(NamedTuple):
    service: str
    region: str


@dataclass(frozen=True, slots=True)
class _Kept:
    credential: Credential
    renew_at: float
    expires: float


class EcrPasswords:
    """The passwords of all rules with `EcrCredentials`, one for each region and service.

    AWS credentials, profile and endpoint are found as boto3 finds them (environment, shared files, instance role,
    ``AWS_ENDPOINT_URL_ECR``).
    """

    def __init__(self, clock: Clock, flights: SingleFlight) -> None:
        self._clock = clock
        self._flights = flights
        self._kept: dict[_Key, _Kept] = {}

    async def credential(self, rule: CacheRule, source: EcrCredentials) -> Credential:
        """Return the password for the registry of `rule`; who asks for one at the same time shares one call to AWS.

        Raises `UpstreamError`: CREDENTIALS_REFUSED where AWS gives none, UNREACHABLE or SERVER_ERROR where it cannot
        be asked. While the old password is good, a renewal that fails is only logged, and tried again a minute later.
        """
        key = _Key(kind_of(rule.upstream).token_service or "ecr", source.region)
        kept = self._kept.get(key)
        if kept is not None and self._clock.now() < kept.renew_at:
            return kept.credential
        return await self._flights.do(key, lambda: self._renew(key, rule))

    def drop(self, credential: Credential) -> None:
        """Forget a password that a registry refused."""
        self._kept = {key: kept for key, kept in self._kept.items() if kept.credential != credential}

    async def _renew(self, key: _Key, rule: CacheRule) -> Credential:
        try:
            token, expires = await asyncio.to_thread(_ask_aws, key)
            credential = _parse(token)
        except NoCredentialError as error:
            kept, now = self._kept.get(key), self._clock.now()
            if kept is None or now >= kept.expires:
                raise UpstreamError(
                    error.failure, f"the `credentials` of rule {rule.prefix} cannot be used: {error}"
                ) from None
            _log.warning("ecr.renewal_failed", service=key.service, region=key.region, reason=str(error))
            self._kept[key] = _Kept(kept.credential, min(now + _RETRY_AFTER, kept.expires), kept.expires)
            return kept.credential
        now = self._clock.now()
        self._kept[key] = _Kept(credential, expires - max(0.0, expires - now) * _EARLY, expires)
        _log.info("ecr.renewed", service=key.service, region=key.region)
        return credential


def _ask_aws(key: _Key) -> tuple[str, float]:
    """Return a token and when it expires, in seconds since the epoch. Blocks; runs in a thread."""
    from proxy.upstream.ecr_tokens import ask_aws  # noqa: PLC0415 - boto3: only rules of ECR need it

    return ask_aws(key.service, key.region)


def _parse(token: str) -> Credential:
    try:
        username, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        username = password = ""
    if not username or not password:
        raise NoCredentialError("AWS answered GetAuthorizationToken with something that is no user:password")
    return Credential(username, password)
