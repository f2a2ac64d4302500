"""Previews of lifecycle policies: what one would do to a repository, found out in the background and kept."""

import asyncio
from enum import StrEnum
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from proxy.core.offloading import Offloader
from proxy.core.ports import Clock, RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.lifecycle.evaluation import Verdict
from proxy.core.registry.lifecycle.policy import ActionType, parse_lifecycle
from proxy.core.registry.lifecycle.survey import survey
from proxy.core.registry.ports import RegistryStore
from proxy.core.tasks import Tasks
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.reference import RepositoryName

_log = structlog.get_logger(__name__)

_LONGEST: Final = 600.0
"""A preview that has not ended in so many seconds died with its process."""


class PreviewStatus(StrEnum):
    """How far a preview is, under ECR's names."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


class PreviewedImage(msgspec.Struct, frozen=True):
    """An image that the policy would act on."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: float
    priority: int
    action: ActionType


class Preview(msgspec.Struct, frozen=True):
    """What a policy would do. `repository_since` is when the repository of that name was made, of several in turn."""

    id: str
    text: str
    started_at: float
    repository_since: float
    status: PreviewStatus = PreviewStatus.IN_PROGRESS
    images: tuple[PreviewedImage, ...] = ()


_decoder = msgspec.json.Decoder(Preview)


class LifecyclePreviews:
    """Make previews and show them: the last one of each repository. Every method raises `ApiError`."""

    def __init__(
        self, store: RegistryStore, identity: RegistryIdentity, clock: Clock, tasks: Tasks, offloader: Offloader
    ) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        self._tasks = tasks
        self._offloader = offloader

    async def start(self, record: RepositoryRecord, text: str) -> Preview:
        """Begin a preview, which takes the place of the last one.

        LifecyclePolicyPreviewInProgressException where that, in whatever process, goes on.
        """
        parse_lifecycle(text, ecr=self._identity.ecr)
        preview = Preview(str(uuid4()), text, self._clock.now(), record.created_at)
        encoded = msgspec.json.encode(preview).decode()

        def change(before: str | None) -> str:
            if before is not None and self._goes_on(_decoder.decode(before), record):
                raise ApiError(
                    ApiErrorCode.LifecyclePolicyPreviewInProgressException,
                    f"A lifecycle policy preview is in progress for the repository with name '{record.name}' in the "
                    f"registry with id '{self._identity.account}'",
                )
            return encoded

        await self._store.alter_document(_document(record.name), change)
        self._tasks.spawn("lifecycle.preview", self._complete(record.name, preview))
        return preview

    async def get(self, record: RepositoryRecord) -> Preview:
        """Return the last preview of a repository; LifecyclePolicyPreviewNotFoundException where there is none."""
        text = await self._store.document(_document(record.name))
        if text is not None:
            preview = await self._offloader.run(len(text), _decoder.decode, text)
            if preview.repository_since == record.created_at:
                lost = preview.status is PreviewStatus.IN_PROGRESS and not self._goes_on(preview, record)
                return msgspec.structs.replace(preview, status=PreviewStatus.FAILED) if lost else preview
        raise ApiError(
            ApiErrorCode.LifecyclePolicyPreviewNotFoundException,
            f"Lifecycle policy preview does not exist for the repository with name '{record.name}' in the registry "
            f"with id '{self._identity.account}'",
        )

    def _goes_on(self, preview: Preview, record: RepositoryRecord) -> bool:
        """Tell whether somebody works on a preview of this repository; a clock set back must not keep it so."""
        return (
            preview.status is PreviewStatus.IN_PROGRESS
            and preview.repository_since == record.created_at
            and 0 <= self._clock.now() - preview.started_at < _LONGEST
        )

    async def _complete(self, name: RepositoryName, preview: Preview) -> None:
        try:
            verdicts = await survey(self._store, name, parse_lifecycle(preview.text), preview.started_at)
            done = msgspec.structs.replace(
                preview, status=PreviewStatus.COMPLETE, images=tuple(map(_previewed, verdicts))
            )
        except Exception:
            await self._keep(name, msgspec.structs.replace(preview, status=PreviewStatus.FAILED))
            raise
        await self._keep(name, done)
        _log.info("lifecycle.previewed", repository=name, images=len(verdicts))

    async def _keep(self, name: RepositoryName, done: Preview) -> None:
        encoded = (await asyncio.to_thread(msgspec.json.encode, done)).decode()

        def change(before: str | None) -> str | None:
            ours = before is not None and _decoder.decode(before).id == done.id
            return encoded if ours else before

        await self._store.alter_document(_document(name), change)


def _document(name: RepositoryName) -> str:
    return f"lifecycle-preview/{name}"


def _previewed(verdict: Verdict) -> PreviewedImage:
    image = verdict.image
    return PreviewedImage(str(image.digest), image.tags, image.pushed_at, verdict.priority, verdict.action)
