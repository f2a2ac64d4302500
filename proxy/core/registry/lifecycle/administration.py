"""Lifecycle policies of repositories: kept for administrators, and carried out."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from proxy.core.offloading import Offloader
from proxy.core.ports import Clock, RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.known_repositories import KnownRepositories
from proxy.core.registry.lifecycle.claim import RoundClaim
from proxy.core.registry.lifecycle.evaluation import Verdict
from proxy.core.registry.lifecycle.policy import ActionType, parse_lifecycle
from proxy.core.registry.lifecycle.previews import LifecyclePreviews, Preview
from proxy.core.registry.lifecycle.survey import survey
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import RepositoryDetails
from proxy.core.repeating import repeat
from proxy.core.tasks import Tasks
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.telemetry.audit import AuditEvent, AuditKind, AuditTrail, NoAudit

_log = structlog.get_logger(__name__)

_BATCH: Final = 100
_PAGE: Final = 100
_LOOK: Final = 60.0
"""The most seconds between two looks whether a round is due: another process may have left one unfinished."""


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A policy as it was given, and when it was last carried out (None: not yet)."""

    text: str
    evaluated_at: float | None


class LifecycleAdministration:
    """Keep lifecycle policies, preview them, and remove what they expire. Methods raise `ApiError`.

    Rounds over all repositories are `interval` seconds apart, whatever process makes them.
    """

    def __init__(  # noqa: PLR0913 - the composition root hands in each part
        self,
        store: RegistryStore,
        identity: RegistryIdentity,
        clock: Clock,
        tasks: Tasks,
        *,
        offloader: Offloader,
        interval: float,
        audit: AuditTrail | None = None,
    ) -> None:
        """Make rounds every `interval` seconds; `audit` is told what they remove."""
        self._store = store
        self._repositories = KnownRepositories(store, identity)
        self._identity = identity
        self._clock = clock
        self._interval = interval
        self._audit = audit or NoAudit()
        self._claim = RoundClaim(store, clock, interval)
        self._previews = LifecyclePreviews(store, identity, clock, tasks, offloader)

    # --- for administrators -------------------------------------------------------------------------------------------

    async def put(self, name: RepositoryName, text: str) -> None:
        """Give a repository a policy; the next round carries it out."""
        parse_lifecycle(text, ecr=self._identity.ecr)

        def change(details: RepositoryDetails) -> RepositoryDetails:
            evaluated_at = details.lifecycle_evaluated_at if details.lifecycle == text else None
            return replace(details, lifecycle=text, lifecycle_evaluated_at=evaluated_at)

        await self._repositories.alter_details(name, change)
        _log.info("lifecycle.policy_set", repository=name)

    async def get(self, name: RepositoryName) -> KeptPolicy:
        """Return the policy of a repository."""
        return self._kept(await self._repositories.get(name))

    async def delete(self, name: RepositoryName) -> KeptPolicy:
        """Take its policy from a repository, and return it."""
        removed: list[RepositoryDetails] = []

        def change(details: RepositoryDetails) -> RepositoryDetails:
            removed[:] = [details]
            return replace(details, lifecycle=None, lifecycle_evaluated_at=None)

        record = await self._repositories.alter_details(name, change)
        kept = self._kept(replace(record, details=removed[0]))
        _log.info("lifecycle.policy_deleted", repository=name)
        return kept

    async def start_preview(self, name: RepositoryName, text: str | None = None) -> Preview:
        """Begin a preview of what a policy would do now: of `text`, or of the policy that the repository has."""
        record = await self._repositories.get(name)
        return await self._previews.start(record, text if text is not None else self._kept(record).text)

    async def preview(self, name: RepositoryName) -> Preview:
        """Return the last preview of a repository, as far as it is."""
        return await self._previews.get(await self._repositories.get(name))

    # --- carried out --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make rounds when they are due; never returns."""
        await repeat(self.round, min(self._interval, _LOOK), failed="lifecycle.round_failed")

    async def round(self) -> bool:
        """Carry out the policies of all repositories, if that is due and nobody is at it; tell whether all had a turn.

        One repository that fails leaves the others be.
        """
        if not await self._claim.take():
            return False
        done = False
        try:
            done = await self._visit()
        finally:
            try:
                await (self._claim.finish() if done else self._claim.release())
            except Exception:  # noqa: BLE001 - nothing may take the place of a cancellation
                _log.exception("lifecycle.claim_not_released")
        return done

    async def expire(self, name: RepositoryName) -> list[Digest]:
        """Carry out the policy of one repository, if it has one; return what was removed.

        An image that got or lost a tag, or was pulled, since it was looked at stays; so does everything once the
        policy is another. What is decided by counting may leave fewer images than the policy says where a client
        removes newer ones in the same moment, and a pull counts from when it is noted (`Images.note_pulls`).
        """
        record = await self._store.repository(name)
        if record is None or record.details.lifecycle is None:
            return []
        text, now = record.details.lifecycle, self._clock.now()
        # What was accepted once is carried out, however strict the registry has become.
        verdicts = await survey(self._store, name, parse_lifecycle(text), now)
        removed = await self._remove(record, [one for one in verdicts if one.action is ActionType.EXPIRE])

        def evaluated(found: RepositoryRecord) -> RepositoryRecord:
            if not _same_policy(found, record):
                return found
            return replace(found, details=replace(found.details, lifecycle_evaluated_at=now))

        await self._store.alter_repository(name, evaluated)
        if removed:
            _log.info("lifecycle.expired", repository=name, digests=len(removed))
        return removed

    async def _visit(self) -> bool:
        after = ""
        while page := await self._store.repository_records(after, _PAGE):
            for record in page:
                if record.details.lifecycle is None:
                    continue
                try:
                    await self.expire(record.name)
                except Exception:  # noqa: BLE001 - one repository must not keep the others from their turn
                    _log.exception("lifecycle.failed", repository=record.name)
                if not await self._claim.renew():
                    _log.warning("lifecycle.round_taken_over", repository=record.name)
                    return False
                # Between two repositories, clients have their turn.
                await asyncio.sleep(0)
            after = page[-1].name
        return True

    async def _remove(self, record: RepositoryRecord, verdicts: Sequence[Verdict]) -> list[Digest]:
        """Remove what is as it was when it was judged, and nothing before what it hangs on has gone."""
        removed: dict[Digest, None] = {}
        for batch in _batches(verdicts):
            found = await self._store.repository(record.name)
            if found is None or not _same_policy(found, record):
                _log.info("lifecycle.policy_changed", repository=record.name)
                break
            images = [verdict.image for verdict in batch if verdict.follows <= removed.keys()]
            gone = await self._store.remove_unchanged(record.name, images)
            # At once: what follows may fail, or this process end.
            await self._tell(record.name, gone)
            removed |= dict.fromkeys(gone)
        return list(removed)

    async def _tell(self, name: RepositoryName, removed: Iterable[Digest]) -> None:
        for digest in removed:
            await self._audit.record(
                AuditEvent(
                    AuditKind.CHANGE,
                    "lifecycle:Expire",
                    principal="system:lifecycle",
                    scheme="internal",
                    subject=name,
                    reference=str(digest),
                )
            )

    def _kept(self, record: RepositoryRecord) -> KeptPolicy:
        if record.details.lifecycle is None:
            raise ApiError(
                ApiErrorCode.LifecyclePolicyNotFoundException,
                f"Lifecycle policy does not exist for the repository with name '{record.name}' in the registry with "
                f"id '{self._identity.account}'",
            )
        return KeptPolicy(record.details.lifecycle, record.details.lifecycle_evaluated_at)


def _batches(verdicts: Iterable[Verdict]) -> Iterator[list[Verdict]]:
    """Split verdicts, in their order, so that no image is in one batch with what it hangs on."""
    batch: list[Verdict] = []
    ahead: set[Digest] = set()
    for verdict in verdicts:
        if len(batch) == _BATCH or not ahead.isdisjoint(verdict.follows):
            yield batch
            batch, ahead = [], set()
        batch.append(verdict)
        ahead.add(verdict.image.digest)
    if batch:
        yield batch


def _same_policy(found: RepositoryRecord, judged: RepositoryRecord) -> bool:
    return (found.created_at, found.details.lifecycle) == (judged.created_at, judged.details.lifecycle)
