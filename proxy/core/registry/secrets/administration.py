"""The built-in store of secrets, with the semantics of AWS Secrets Manager; values are sealed before they are kept."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from proxy.core.ports import Clock
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import SecretRecords
from proxy.core.registry.records import SecretRecord, SecretVersion
from proxy.core.registry.secrets import versions
from proxy.core.registry.secrets.names import SecretReference, make_suffix, secret_arn
from proxy.core.registry.secrets.ports import Sealer, UnsealableError
from proxy.core.repeating import repeat
from proxy.model.api_errors import ApiError, ApiErrorCode

_log = structlog.get_logger(__name__)

_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
_DAY = 86400.0
_WINDOW_DAYS = range(7, 31)
_USUAL_WINDOW_DAYS = 30
_TAGS = 50
_PAGE = 100
_SWEEP_SECONDS = 3600.0
_MARKED = "You can't perform this operation on the secret because it was marked for deletion."
_BRING_BACK = "bring back the key file that sealed them, or put their values again"

Change = Callable[[SecretRecord], SecretRecord | None]


@dataclass(frozen=True, slots=True)
class SecretValue:
    """What a secret holds; `binary` is how it was given, and is given back."""

    data: bytes = field(repr=False)
    binary: bool = False


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What a caller asks a new secret to be. `token` becomes the id of its first version."""

    name: str
    token: str | None = None
    value: SecretValue | None = None
    description: str | None = None
    kms_key: str | None = None
    resource_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SecretFilter:
    """Secrets that have one of `values` (``!`` before one: that have it not) in what `key` names."""

    key: str
    values: tuple[str, ...]


class SecretAdministration:
    """Make, change, read and delete secrets.

    A secret is named by its name, by its ARN, or by its ARN without the last six characters. Every method raises
    `ApiError` with the codes of Secrets Manager. A deleted secret can be restored until its recovery window ends;
    from then on it is as if it had never been, and `sweep` removes what is left of it.
    """

    def __init__(self, records: SecretRecords, sealer: Sealer, identity: RegistryIdentity, clock: Clock) -> None:
        self._records = records
        self._sealer = sealer
        self._identity = identity
        self._clock = clock

    def arn(self, record: SecretRecord) -> str:
        """Return the whole ARN of a secret."""
        return secret_arn(self._identity, record.name, record.suffix)

    # --- secrets ------------------------------------------------------------------------------------------------------

    async def create(self, asked: NewSecret) -> tuple[SecretRecord, SecretVersion | None]:
        """Make a secret and, where it has a value, its first version.

        Asking again with the same token and value changes nothing; ResourceExistsException otherwise.
        """
        if _NAME.fullmatch(asked.name) is None:
            raise _invalid(
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: "
                "-/_+=.@"
            )
        token, suffix, now = asked.token or str(uuid.uuid4()), make_suffix(), self._clock.now()

        def change(found: SecretRecord | None) -> SecretRecord:
            if found is not None and not self._is_gone(found):
                return self._asked_again(found, asked, token)
            record = SecretRecord(
                asked.name,
                suffix,
                created_at=now,
                changed_at=now,
                description=asked.description,
                kms_key=asked.kms_key or None,
                resource_tags=_checked_tags(asked.resource_tags),
            )
            return record if asked.value is None else self._with_version(record, token, asked.value, ())

        made = await self._records.alter_secret(asked.name, change)
        if made is None:
            raise AssertionError("a secret that was made is there")
        _log.info("secret.created", name=asked.name)
        return made, next((version for version in made.versions if version.id == token), None)

    async def describe(self, secret_id: str) -> SecretRecord:
        """Return a secret, also one that is marked for deletion."""
        for name, suffix in self._meant(secret_id):
            record = await self._records.secret(name)
            if record is not None and self._is(record, suffix):
                return record
        raise ApiError(ApiErrorCode.ResourceNotFoundException)

    async def update(
        self,
        secret_id: str,
        token: str | None = None,
        value: SecretValue | None = None,
        description: str | None = None,
        kms_key: str | None = None,
    ) -> tuple[SecretRecord, SecretVersion | None]:
        """Change what is not None; a value becomes the current version, which is returned too."""
        version_id = token or str(uuid.uuid4())
        now = self._clock.now()

        def change(record: SecretRecord) -> SecretRecord:
            changed = replace(
                record,
                description=record.description if description is None else description,
                kms_key=record.kms_key if kms_key is None else kms_key or None,
                changed_at=now,
            )
            return changed if value is None else self._put(changed, version_id, value, ())

        changed = await self._alter(secret_id, change)
        _log.info("secret.updated", name=changed.name)
        return changed, versions.find(changed, version_id) if value is not None else None

    async def delete(self, secret_id: str, window_days: int | None = None, *, force: bool = False) -> SecretRecord:
        """Mark a secret for deletion at the end of the window, 30 days, or with `force` delete it at once.

        Returns it as it is then, `deleted_at` included. With `force`, a secret that is not there is no error.
        """
        if force and window_days is not None:
            raise _invalid("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
        if window_days is not None and window_days not in _WINDOW_DAYS:
            raise _invalid("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
        now = self._clock.now()
        if force:
            return await self._delete_at_once(secret_id, now)
        at = now + (window_days or _USUAL_WINDOW_DAYS) * _DAY
        marked = await self._alter(secret_id, lambda record: replace(record, deleted_at=at))
        _log.info("secret.marked_for_deletion", name=marked.name)
        return marked

    async def restore(self, secret_id: str) -> SecretRecord:
        """Take the mark for deletion off a secret; one without is returned as it is."""
        restored = await self._alter(secret_id, lambda record: replace(record, deleted_at=None), marked=True)
        _log.info("secret.restored", name=restored.name)
        return restored

    async def search(self, filters: Sequence[SecretFilter] = (), *, marked: bool = False) -> list[SecretRecord]:
        """Return the secrets that fit every filter, in order of name; with `marked` also those to be deleted."""
        found = [record async for record in self._all() if not self._is_gone(record)]
        return [
            record
            for record in found
            if (marked or record.deleted_at is None) and all(_fits(record, wanted) for wanted in filters)
        ]

    async def tag(self, secret_id: str, added: Mapping[str, str], removed: Iterable[str] = ()) -> None:
        """Add resource tags, replacing those of the same keys, and remove others."""
        gone = set(removed)

        def change(record: SecretRecord) -> SecretRecord:
            kept = {key: value for key, value in record.resource_tags.items() if key not in gone}
            return replace(record, resource_tags=_checked_tags(kept | dict(added)))

        tagged = await self._alter(secret_id, change)
        _log.info("secret.tagged", name=tagged.name, keys=sorted({*added, *gone}))

    async def set_policy(self, secret_id: str, policy: str | None) -> SecretRecord:
        """Keep a resource policy, or with None remove it. It is returned, and governs nothing."""
        if policy is not None and not _is_json_object(policy):
            raise ApiError(ApiErrorCode.MalformedPolicyDocumentException, "This resource policy contains invalid Json")
        changed = await self._alter(secret_id, lambda record: replace(record, policy=policy))
        _log.info("secret.policy_set" if policy is not None else "secret.policy_deleted", name=changed.name)
        return changed

    async def policy(self, secret_id: str) -> SecretRecord:
        """Return a secret for the sake of its policy; InvalidRequestException where it is marked for deletion."""
        return _unmarked(await self.describe(secret_id))

    # --- values -------------------------------------------------------------------------------------------------------

    async def value(
        self, secret_id: str, version_id: str | None = None, stage: str | None = None
    ) -> tuple[SecretRecord, SecretVersion, SecretValue]:
        """Return a version of a secret, the current one by default, and what it holds."""
        record = _unmarked(await self.describe(secret_id))
        version = versions.find(record, version_id, stage)
        try:
            return record, version, self._open(record, version)
        except UnsealableError as error:
            raise ApiError(ApiErrorCode.DecryptionFailure, debug=f"the key that sealed {record.name}") from error

    async def put_value(
        self, secret_id: str, token: str | None, value: SecretValue | None, stages: Sequence[str] = ()
    ) -> tuple[SecretRecord, SecretVersion]:
        """Make a version with `stages` (none: the current one), taken from the versions that have them.

        Asking again with the same token and value changes nothing; ResourceExistsException where the value differs.
        """
        if value is None:
            raise ApiError(
                ApiErrorCode.InvalidRequestException, "You must provide either SecretString or SecretBinary."
            )
        version_id = token or str(uuid.uuid4())
        changed = await self._alter(secret_id, lambda record: self._put(record, version_id, value, stages))
        _log.info("secret.value_put", name=changed.name)
        return changed, versions.find(changed, version_id)

    async def move_stage(self, secret_id: str, stage: str, out_of: str | None, to: str | None) -> SecretRecord:
        """Attach a stage to a version, take it from one, or move it."""
        now = self._clock.now()
        moved = await self._alter(secret_id, lambda record: versions.move(record, stage, out_of=out_of, to=to, at=now))
        _log.info("secret.stage_moved", name=moved.name, stage=stage, version=to)
        return moved

    # --- the end of deleted ones --------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Remove secrets whose recovery window has ended, once an hour; never returns."""
        await repeat(self.remove_ended, _SWEEP_SECONDS, failed="secrets.not_swept")

    async def tell_unreadable(self) -> None:
        """Tell the log which secrets cannot be opened: their key is another one, or was lost."""
        names = []
        async for record in self._all():
            version = versions.holder(record, versions.CURRENT)
            try:
                if version is not None and not self._is_gone(record):
                    self._open(record, version)
            except UnsealableError:
                names.append(record.name)
        if names:
            _log.error("secrets.not_readable", names=names, remedy=_BRING_BACK)

    async def remove_ended(self) -> None:
        """Remove secrets whose recovery window has ended."""

        def change(found: SecretRecord | None) -> SecretRecord | None:
            return None if found is not None and self._is_gone(found) else found

        for record in [record async for record in self._all() if self._is_gone(record)]:
            await self._records.alter_secret(record.name, change)
            _log.info("secret.removed", name=record.name)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _meant(self, secret_id: str) -> list[tuple[str, str | None]]:
        """Return the (name, six characters) that an id may mean; None: whatever characters."""
        reference = SecretReference.parse(secret_id)
        if not reference.is_arn:
            return [(reference.name, None)]
        if self._identity.ecr and reference.is_elsewhere(self._identity):
            return []
        whole = [reference.parts] if reference.parts is not None else []
        return [*whole, (reference.name, None)]

    def _is_gone(self, record: SecretRecord) -> bool:
        return record.deleted_at is not None and record.deleted_at <= self._clock.now()

    def _is(self, record: SecretRecord, suffix: str | None) -> bool:
        return not self._is_gone(record) and suffix in {None, record.suffix}

    async def _alter(self, secret_id: str, change: Change, *, marked: bool = False) -> SecretRecord:
        """Replace the secret that is meant by what `change` makes of it, and return that.

        One that is marked for deletion is refused unless `marked`.
        """
        for name, suffix in self._meant(secret_id):

            def step(found: SecretRecord | None, suffix: str | None = suffix) -> SecretRecord | None:
                if found is None or not self._is(found, suffix):
                    raise _AnotherError
                return change(found if marked else _unmarked(found))

            try:
                changed = await self._records.alter_secret(name, step)
            except _AnotherError:
                continue
            if changed is not None:
                return changed
        raise ApiError(ApiErrorCode.ResourceNotFoundException)

    async def _delete_at_once(self, secret_id: str, now: float) -> SecretRecord:
        for name, suffix in self._meant(secret_id):
            removed: list[SecretRecord] = []

            def step(
                found: SecretRecord | None, suffix: str | None = suffix, removed: list[SecretRecord] = removed
            ) -> SecretRecord | None:
                removed.clear()
                if found is None or not self._is(found, suffix):
                    return found
                removed.append(found)
                return None

            await self._records.alter_secret(name, step)
            if removed:
                _log.info("secret.deleted", name=name)
                return replace(removed[0], deleted_at=now)
        name, suffix = (*self._meant(secret_id), (SecretReference.parse(secret_id).name, None))[0]
        return SecretRecord(name, suffix or make_suffix(), now, now, deleted_at=now)

    async def _all(self) -> AsyncIterator[SecretRecord]:
        after = ""
        while page := await self._records.secrets(after, _PAGE):
            for record in page:
                yield record
            after = page[-1].name

    def _asked_again(self, found: SecretRecord, asked: NewSecret, token: str) -> SecretRecord:
        if found.deleted_at is not None:
            raise ApiError(
                ApiErrorCode.InvalidRequestException,
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            )
        before = next((version for version in found.versions if version.id == token), None)
        if before is None or asked.value is None or not self._holds(found, before, asked.value):
            raise ApiError(
                ApiErrorCode.ResourceExistsException,
                f"The operation failed because the secret {asked.name} already exists.",
            )
        return found

    def _put(self, record: SecretRecord, version_id: str, value: SecretValue, stages: Sequence[str]) -> SecretRecord:
        before = next((version for version in record.versions if version.id == version_id), None)
        if before is None:
            return self._with_version(record, version_id, value, stages)
        if not self._holds(record, before, value):
            raise ApiError(
                ApiErrorCode.ResourceExistsException,
                f"You can't use ClientRequestToken {version_id} because that value is already in use for a version of "
                f"secret {self.arn(record)}.",
            )
        return record

    def _with_version(
        self, record: SecretRecord, version_id: str, value: SecretValue, stages: Sequence[str]
    ) -> SecretRecord:
        now = self._clock.now()
        sealed = self._sealer.seal(value.data, purpose_of(record, version_id))
        given = tuple(dict.fromkeys(stages)) or (versions.CURRENT,)
        return versions.add(record, SecretVersion(version_id, sealed, now, given, value.binary), now)

    def _holds(self, record: SecretRecord, version: SecretVersion, value: SecretValue) -> bool:
        try:
            return self._open(record, version) == value
        except UnsealableError:
            return False

    def _open(self, record: SecretRecord, version: SecretVersion) -> SecretValue:
        return SecretValue(self._sealer.open(version.sealed, purpose_of(record, version.id)), version.binary)


def purpose_of(record: SecretRecord, version_id: str) -> str:
    """Return for what a version's value is sealed: it opens as that version of that secret only."""
    return f"secret {record.name}-{record.suffix} version {version_id}"


class _AnotherError(Exception):
    """The secret of that name is not the one that is meant."""


def _unmarked(record: SecretRecord) -> SecretRecord:
    if record.deleted_at is not None:
        raise ApiError(ApiErrorCode.InvalidRequestException, _MARKED)
    return record


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > _TAGS:
        raise _invalid(f"A secret can have at most {_TAGS} tags.")
    return dict(tags)


def _fits(record: SecretRecord, wanted: SecretFilter) -> bool:
    texts: dict[str, list[str]] = {
        "name": [record.name],
        "description": [record.description or ""],
        "tag-key": list(record.resource_tags),
        "tag-value": list(record.resource_tags.values()),
    }
    texts["all"] = [text for group in texts.values() for text in group]
    found = texts.get(wanted.key, [])

    def has(value: str) -> bool:
        if wanted.key in {"description", "all"}:
            return any(text.casefold().startswith(value.casefold()) for text in found)
        return any(text.startswith(value) for text in found)

    return any(has(value[1:]) is False if value.startswith("!") else has(value) for value in wanted.values)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _invalid(sentence: str) -> ApiError:
    return ApiError(ApiErrorCode.InvalidParameterException, sentence)
