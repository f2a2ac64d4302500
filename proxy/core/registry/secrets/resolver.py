"""From the secret that a rule names to the account in it: who keeps it, what it says, and how long that is good."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from proxy.core.ports import Clock
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import SecretRecords
from proxy.core.registry.records import SecretRecord
from proxy.core.registry.secrets import versions
from proxy.core.registry.secrets.administration import purpose_of
from proxy.core.registry.secrets.names import SecretReference
from proxy.core.registry.secrets.ports import Login, Sealer, SecretError, SecretFailure, SecretPlace, UnsealableError
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.strict_json import check_json

_log = structlog.get_logger(__name__)

_KEYS = {"username", "accessToken"}
_FAILED_SECONDS = 5.0
_STALE_SECONDS = 3600.0
_AWS_OWN_KEY = "alias/aws/secretsmanager"

CODES: Final[Mapping[SecretFailure, ApiErrorCode]] = {
    SecretFailure.NOT_FOUND: ApiErrorCode.SecretNotFoundException,
    SecretFailure.INACCESSIBLE: ApiErrorCode.UnableToAccessSecretException,
    SecretFailure.UNAVAILABLE: ApiErrorCode.UnableToAccessSecretException,
    SecretFailure.SEALED: ApiErrorCode.UnableToDecryptSecretValueException,
}
"""What callers of the API are told of a secret that cannot be read; the other failures are of what is in it."""


class BuiltInSecrets:
    """The `SecretPlace` port over the secrets that the API made."""

    lifetime = 5.0

    def __init__(self, records: SecretRecords, sealer: Sealer, identity: RegistryIdentity, clock: Clock) -> None:
        self._records = records
        self._sealer = sealer
        self._identity = identity
        self._clock = clock

    async def read(self, reference: SecretReference) -> str | None:
        """Return the current version of a secret as text, or None where there is none of that name."""
        record = await self._find(reference)
        if record is None:
            return None
        if record.deleted_at is not None:
            raise SecretError(
                SecretFailure.INACCESSIBLE, f"the secret {record.name} is marked for deletion: restore it"
            )
        if self._identity.ecr and record.kms_key not in {None, _AWS_OWN_KEY}:
            raise SecretError(
                SecretFailure.SEALED,
                f"the secret {record.name} has a KMS key of its own, and ECR reads only those with {_AWS_OWN_KEY}",
            )
        version = versions.holder(record, versions.CURRENT)
        if version is None:
            raise SecretError(SecretFailure.EMPTY, f"the secret {record.name} has no value so far: put one")
        try:
            return self._sealer.open(version.sealed, purpose_of(record, version.id)).decode()
        except UnsealableError:
            raise SecretError(
                SecretFailure.SEALED,
                f"the secret {record.name} was sealed with another key: put its value again, or bring that key back",
            ) from None
        except UnicodeDecodeError:
            raise _malformed(record.name) from None

    async def _find(self, reference: SecretReference) -> SecretRecord | None:
        for name in reference.names:
            record = await self._records.secret(name)
            if record is not None and self._is_meant(reference, record):
                return record
        return None

    def _is_meant(self, reference: SecretReference, record: SecretRecord) -> bool:
        if record.deleted_at is not None and record.deleted_at <= self._clock.now():
            return False
        if record.name == reference.name or not self._identity.ecr:
            # Rules written for AWS carry the six characters of a secret there: its name is what counts here.
            return True
        return reference.parts == (record.name, record.suffix)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of reading a secret; good until `until`, and until `stale_until` where it cannot be read again."""

    until: float
    stale_until: float
    login: Login | None = field(repr=False, default=None)
    error: SecretError | None = None


class SecretResolver:
    """The `SecretLogins` port over `places`, asked in order: the first that has a secret of that name decides.

    In the character of ECR an ARN of another account or region names nothing. What is in secrets is kept for the
    lifetime that its place states, and while the place cannot be asked, for an hour.
    """

    def __init__(self, places: Sequence[SecretPlace], identity: RegistryIdentity, clock: Clock) -> None:
        self._places = tuple(places)
        self._identity = identity
        self._clock = clock
        self._outcomes: dict[str, _Outcome] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def require(self, secret: str) -> None:
        """Raise `ApiError` unless the secret can be read; what is in it is not looked at, as in ECR.

        A secret without a value passes: Terraform makes the value of a secret and the rule that names it side by side.
        """
        try:
            await self._read(secret)
        except SecretError as error:
            code = CODES.get(error.failure)
            if code is not None:
                raise ApiError(code, f"{code.message} ({error.message})") from error

    async def login(self, secret: str) -> Login:
        """Return the account in a secret; see the port."""
        outcome = self._outcomes.get(secret)
        if outcome is None or self._clock.monotonic() >= outcome.until:
            # One reads while the others wait for it.
            async with self._locks.setdefault(secret, asyncio.Lock()):
                outcome = self._outcomes.get(secret)
                if outcome is None or self._clock.monotonic() >= outcome.until:
                    outcome = await self._renew(secret, outcome)
                    self._outcomes[secret] = outcome
        if outcome.error is not None:
            # Anew, so that no traceback grows with each raise.
            raise SecretError(outcome.error.failure, outcome.error.message)
        if outcome.login is None:
            raise AssertionError("an outcome has an account or an error")
        return outcome.login

    def forget(self, secret: str) -> None:
        """Read the secret anew when it is next asked for."""
        self._outcomes.pop(secret, None)

    async def _renew(self, secret: str, before: _Outcome | None) -> _Outcome:
        try:
            text, lifetime = await self._read(secret)
            login = _parse(text, SecretReference.parse(secret).name)
        except SecretError as error:
            now = self._clock.monotonic()
            usable = before is not None and before.login is not None and now < before.stale_until
            if before is not None and usable and error.failure is SecretFailure.UNAVAILABLE:
                _log.warning("secret.not_renewed", name=SecretReference.parse(secret).name, reason=error.message)
                return _Outcome(now + _FAILED_SECONDS, before.stale_until, before.login)
            return _Outcome(now + _FAILED_SECONDS, 0.0, error=error)
        now = self._clock.monotonic()
        return _Outcome(now + lifetime, now + _STALE_SECONDS, login)

    async def _read(self, secret: str) -> tuple[str, float]:
        """Return the text of a secret and how long it is good."""
        reference = SecretReference.parse(secret)
        if self._identity.ecr and reference.is_elsewhere(self._identity):
            raise SecretError(
                SecretFailure.NOT_FOUND,
                f"{secret} is of another account or region than this registry: "
                f"account {self._identity.account}, region {self._identity.region}",
            )
        for place in self._places:
            text = await place.read(reference)
            if text is not None:
                return text, place.lifetime
        raise SecretError(
            SecretFailure.NOT_FOUND,
            f"there is no secret {reference.name}: make it by the API (CreateSecret), or name it in `secrets.values`",
        )


def _parse(text: str, name: str) -> Login:
    try:
        check_json(text.encode())
        document = json.loads(text)
    except ValueError:
        raise _malformed(name) from None
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise _malformed(name)
    username, token = document["username"], document["accessToken"]
    if not isinstance(username, str) or not isinstance(token, str) or not username or not token:
        raise _malformed(name)
    return Login(username, token)


def _malformed(name: str) -> SecretError:
    return SecretError(
        SecretFailure.MALFORMED,
        f'the value of the secret {name} is not JSON with exactly the texts "username" and "accessToken": put it again',
    )
