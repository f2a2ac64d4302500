"""Previews of lifecycle policies."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from proxy.core.offloading import Offloader
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.lifecycle.administration import LifecycleAdministration
from proxy.core.registry.lifecycle.policy import ActionType
from proxy.core.registry.lifecycle.previews import Preview, PreviewStatus
from proxy.core.tasks import Tasks
from proxy.model.api_errors import ApiError, ApiErrorCode
from tests.support.clock import FakeClock
from tests.support.meddled_metadata import MeddledMetadata, nothing
from tests.support.metadata import push_of
from tests.unit.core.registry.lifecycle.conftest import NAME

DAY = 86_400.0


def policy(number: int = 14) -> str:
    selection = {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": number}
    return json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})


@pytest.fixture
def lifecycle(store: MeddledMetadata, clock: FakeClock, tasks: Tasks) -> LifecycleAdministration:
    return LifecycleAdministration(store, RegistryIdentity(), clock, tasks, offloader=Offloader(), interval=60.0)


async def ended(lifecycle: LifecycleAdministration) -> Preview:
    """Return the preview once it has come to an end."""
    async with asyncio.timeout(20):
        while True:
            preview = await lifecycle.preview(NAME)
            if preview.status is not PreviewStatus.IN_PROGRESS:
                return preview
            await asyncio.sleep(0)


async def refused(lifecycle: LifecycleAdministration, *, start: bool) -> ApiErrorCode:
    with pytest.raises(ApiError) as caught:
        await (lifecycle.start_preview(NAME, policy()) if start else lifecycle.preview(NAME))
    return caught.value.code


async def test_a_preview_tells_what_would_go_and_lets_it_be(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    await store.push(NAME, push_of("old", "v1", "v2"), None)
    [image] = await store.images(NAME, "", 10)
    clock.advance(15 * DAY)

    started = await lifecycle.start_preview(NAME, policy())
    preview = await ended(lifecycle)

    assert (started.status, started.text, started.images) == (PreviewStatus.IN_PROGRESS, policy(), ())
    assert (preview.status, preview.text) == (PreviewStatus.COMPLETE, policy())
    [found] = preview.images
    assert (found.digest, found.tags, found.pushed_at) == (str(image.digest), ("v1", "v2"), image.pushed_at)
    assert (found.priority, found.action) == (1, ActionType.EXPIRE)
    assert await store.images(NAME, "", 10) == [image]


async def test_without_a_text_the_policy_of_the_repository_is_previewed(lifecycle: LifecycleAdministration) -> None:
    await lifecycle.put(NAME, policy(7))

    await lifecycle.start_preview(NAME)

    assert (await ended(lifecycle)).text == policy(7)


async def test_a_preview_of_a_policy_that_is_none_is_refused(
    store: MeddledMetadata, clock: FakeClock, tasks: Tasks
) -> None:
    # ECR expires nothing by the last pull.
    strict = LifecycleAdministration(
        store, RegistryIdentity(ecr=True), clock, tasks, offloader=Offloader(), interval=60.0
    )

    assert await refused(strict, start=True) is ApiErrorCode.InvalidParameterException
    assert await refused(strict, start=False) is ApiErrorCode.LifecyclePolicyPreviewNotFoundException


async def test_one_preview_of_a_repository_goes_on_at_a_time(lifecycle: LifecycleAdministration) -> None:
    await lifecycle.start_preview(NAME, policy())

    assert await refused(lifecycle, start=True) is ApiErrorCode.LifecyclePolicyPreviewInProgressException

    await ended(lifecycle)
    await lifecycle.start_preview(NAME, policy(3))
    assert (await ended(lifecycle)).text == policy(3)


async def test_a_preview_that_died_with_its_process_has_failed_and_makes_room(
    store: MeddledMetadata, clock: FakeClock, lifecycle: LifecycleAdministration
) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.Event().wait()

    store.while_judging = hang
    await store.push(NAME, push_of("old"), None)
    async with Tasks() as tasks:
        await LifecycleAdministration(
            store, RegistryIdentity(), clock, tasks, offloader=Offloader(), interval=60.0
        ).start_preview(NAME, policy())
        await began.wait()

    assert (await lifecycle.preview(NAME)).status is PreviewStatus.IN_PROGRESS
    clock.advance(600)
    assert (await lifecycle.preview(NAME)).status is PreviewStatus.FAILED

    store.while_judging = nothing
    await lifecycle.start_preview(NAME, policy())
    assert (await ended(lifecycle)).status is PreviewStatus.COMPLETE


async def test_a_preview_that_fails_says_so(lifecycle: LifecycleAdministration, store: MeddledMetadata) -> None:
    async def fail() -> None:
        raise OSError("the disk is away")

    store.while_judging = fail
    await store.push(NAME, push_of("old"), None)

    with capture_logs() as logs:
        await lifecycle.start_preview(NAME, policy())
        assert (await ended(lifecycle)).status is PreviewStatus.FAILED
        await asyncio.sleep(0)

    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["task.failed"]


async def test_a_preview_is_not_shown_for_another_repository_of_that_name(
    lifecycle: LifecycleAdministration, store: MeddledMetadata
) -> None:
    await lifecycle.start_preview(NAME, policy())
    await ended(lifecycle)
    await store.remove_repository(NAME, force=True)
    await store.create_repository(RepositoryRecord(NAME, 2.0))

    assert await refused(lifecycle, start=False) is ApiErrorCode.LifecyclePolicyPreviewNotFoundException


async def test_large_previews_are_kept_whole(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    for number in range(210):
        await store.push(NAME, push_of(f"image {number}", *(f"{'long' * 20}-{number}-{n}" for n in range(20))), None)
    clock.advance(15 * DAY)

    await lifecycle.start_preview(NAME, policy())

    assert len((await ended(lifecycle)).images) == 210
