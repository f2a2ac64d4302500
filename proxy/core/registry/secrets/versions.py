"""The versions of a secret and their stages: pure functions over records."""

from collections.abc import Iterable
from dataclasses import replace

from proxy.core.registry.records import SecretRecord, SecretVersion
from proxy.model.api_errors import ApiError, ApiErrorCode

CURRENT = "AWSCURRENT"
"""The stage of the version that is meant where nobody says which."""
PREVIOUS = "AWSPREVIOUS"
"""The stage of the version that was current before."""

DEPRECATED = 20
"""How many versions without any stage are kept: the newest ones."""


def find(record: SecretRecord, version_id: str | None = None, stage: str | None = None) -> SecretVersion:
    """Return the version of an id, of a stage, or of both; the current one where neither is given.

    Raises `ApiError`: ResourceNotFoundException, or InvalidRequestException where both exist apart.
    """
    if version_id is None:
        wanted = stage or CURRENT
        found = holder(record, wanted)
        if found is None:
            raise _unknown(f"staging label: {wanted}")
        return found
    found = next((version for version in record.versions if version.id == version_id), None)
    if found is None:
        raise _unknown(f"VersionId: {version_id}")
    if stage is not None and stage not in found.stages:
        raise ApiError(
            ApiErrorCode.InvalidRequestException,
            "You provided a VersionStage that is not associated to the provided VersionId.",
        )
    return found


def holder(record: SecretRecord, stage: str) -> SecretVersion | None:
    """Return the version that has a stage, or None."""
    return next((version for version in record.versions if stage in version.stages), None)


def add(record: SecretRecord, version: SecretVersion, at: float) -> SecretRecord:
    """Return the secret with a new version, which takes its stages from those that have them.

    The first version of a secret is always current too.
    """
    stages = version.stages if record.versions or CURRENT in version.stages else (CURRENT, *version.stages)
    fresh = replace(version, stages=())
    changed = replace(record, versions=(*record.versions, fresh), changed_at=at)
    for stage in stages:
        changed = _move(changed, stage, version.id)
    return _without_the_oldest(changed)


def move(record: SecretRecord, stage: str, *, out_of: str | None, to: str | None, at: float) -> SecretRecord:
    """Return the secret with a stage moved, attached or taken away; `ApiError` where it is not as the caller says."""
    for version_id in (out_of, to):
        if version_id is not None:
            find(record, version_id)
    held = holder(record, stage)
    held_by = held.id if held is not None else None
    if held_by is not None and to is not None and held_by != to and out_of is None:
        raise ApiError(
            ApiErrorCode.InvalidParameterException,
            f"The staging label {stage} is currently attached to version {held_by}, so you must explicitly reference "
            "that version in RemoveFromVersionId.",
        )
    if out_of is not None and held_by != out_of:
        raise ApiError(
            ApiErrorCode.InvalidParameterException,
            f"The staging label {stage} is not attached to version {out_of}.",
        )
    if stage == CURRENT and to is None:
        raise ApiError(
            ApiErrorCode.InvalidParameterException,
            f"You can only move staging label {CURRENT} to a different secret version. It can't be removed.",
        )
    return _without_the_oldest(replace(_move(record, stage, to), changed_at=at))


def _move(record: SecretRecord, stage: str, to: str | None) -> SecretRecord:
    before = holder(record, stage)
    if before is not None and before.id == to:
        return record
    changed = replace(record, versions=tuple(_with_stage(v, stage, has=v.id == to) for v in record.versions))
    if stage == CURRENT and before is not None:
        changed = _move(changed, PREVIOUS, before.id)
    return changed


def _with_stage(version: SecretVersion, stage: str, *, has: bool) -> SecretVersion:
    others = tuple(held for held in version.stages if held != stage)
    return replace(version, stages=(*others, stage) if has else others)


def _without_the_oldest(record: SecretRecord) -> SecretRecord:
    deprecated = [version.id for version in record.versions if not version.stages]
    gone = set(deprecated[: max(0, len(deprecated) - DEPRECATED)])
    return replace(record, versions=tuple(_kept(record.versions, gone))) if gone else record


def _kept(versions: Iterable[SecretVersion], gone: set[str]) -> Iterable[SecretVersion]:
    return (version for version in versions if version.id not in gone)


def _unknown(what: str) -> ApiError:
    return ApiError(
        ApiErrorCode.ResourceNotFoundException,
        f"Secrets Manager can't find the specified secret value for {what}",
    )
