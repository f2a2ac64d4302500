"""Lifecycle policies that are kept and carried out, while days pass by a clock that the tests move."""

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.core.offloading import Offloader
from proxy.core.ports import ManifestPush, RepositoryRecord, TagWrite
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.lifecycle.administration import LifecycleAdministration
from proxy.core.registry.lifecycle.claim import LEASE
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import PullNote
from proxy.core.tasks import Tasks
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.storage.metadata.store import SqlMetadataStore
from tests.support.clock import FakeClock
from tests.support.meddled_metadata import MeddledMetadata, nothing
from tests.support.metadata import manifest, pushed
from tests.unit.core.registry.lifecycle.conftest import NAME

DAY = 86_400.0
HOUR = 3600.0
OTHER = RepositoryName("team/other")


def rule(priority: int, selection: dict[str, object], count: str, number: int) -> dict[str, object]:
    unit = {} if count == "imageCountMoreThan" else {"countUnit": "days"}
    counted = {"countType": count, "countNumber": number, **unit}
    return {"rulePriority": priority, "selection": {**selection, **counted}, "action": {"type": "expire"}}


def policy(*rules: dict[str, object]) -> str:
    return json.dumps({"rules": rules})


UNTAGGED_DAYS = policy(rule(1, {"tagStatus": "untagged"}, "sinceImagePushed", 14))
ALL_UNUSED = policy(rule(1, {"tagStatus": "any"}, "sinceImagePulled", 30))
KEEP_TWO = policy(rule(1, {"tagStatus": "tagged", "tagPatternList": ["*"]}, "imageCountMoreThan", 2))


def administration(
    store: RegistryStore, clock: FakeClock, tasks: Tasks, interval: float = HOUR, *, ecr: bool = False
) -> LifecycleAdministration:
    return LifecycleAdministration(
        store, RegistryIdentity(ecr=ecr), clock, tasks, offloader=Offloader(), interval=interval
    )


@pytest.fixture
def lifecycle(store: MeddledMetadata, clock: FakeClock, tasks: Tasks) -> LifecycleAdministration:
    return administration(store, clock, tasks)


async def push(
    store: RegistryStore,
    text: str,
    *tags: str,
    children: tuple[str, ...] = (),
    subject: str | None = None,
    repository: RepositoryName = NAME,
) -> Digest:
    """Push the manifest `text`, which names the manifests `children`; return its digest."""
    record = manifest(
        text,
        media_type=OCI_INDEX if children else OCI_MANIFEST,
        subject=None if subject is None else Digest.of(subject.encode()),
    )
    named = tuple(Descriptor(OCI_MANIFEST, Digest.of(child.encode()), 1) for child in children)
    write = TagWrite(tuple(pushed(tag, text) for tag in tags))
    await store.push(repository, ManifestPush(record, children=named, tags=write), None)
    return record.digest


async def left(store: RegistryStore, repository: RepositoryName = NAME) -> set[Digest]:
    return {image.digest for image in await store.images(repository, "", 1000)}


# --- kept ---------------------------------------------------------------------------------------------------------


async def test_a_policy_is_returned_as_it_was_given(lifecycle: LifecycleAdministration) -> None:
    text = f"  {UNTAGGED_DAYS}\n"

    await lifecycle.put(NAME, text)

    assert (await lifecycle.get(NAME)).text == text
    assert (await lifecycle.delete(NAME)).text == text


async def test_a_policy_that_is_none_changesnothing(lifecycle: LifecycleAdministration) -> None:
    await lifecycle.put(NAME, UNTAGGED_DAYS)

    with pytest.raises(ApiError) as caught:
        await lifecycle.put(NAME, '{"rules": []}')

    assert caught.value.code is ApiErrorCode.InvalidParameterException
    assert (await lifecycle.get(NAME)).text == UNTAGGED_DAYS


async def test_a_repository_without_a_policy_says_so(lifecycle: LifecycleAdministration) -> None:
    for asked in (lifecycle.get(NAME), lifecycle.delete(NAME), lifecycle.start_preview(NAME)):
        with pytest.raises(ApiError) as caught:
            await asked
        assert caught.value.code is ApiErrorCode.LifecyclePolicyNotFoundException
        assert caught.value.message == (
            "Lifecycle policy does not exist for the repository with name 'team/app' in the registry with id "
            "'000000000000'"
        )


async def test_a_repository_that_is_not_there_says_so(lifecycle: LifecycleAdministration) -> None:
    for asked in (
        lifecycle.put(OTHER, UNTAGGED_DAYS),
        lifecycle.get(OTHER),
        lifecycle.delete(OTHER),
        lifecycle.start_preview(OTHER, UNTAGGED_DAYS),
        lifecycle.preview(OTHER),
    ):
        with pytest.raises(ApiError) as caught:
            await asked
        assert caught.value.code is ApiErrorCode.RepositoryNotFoundException


async def test_another_policy_has_not_been_carried_out(lifecycle: LifecycleAdministration, clock: FakeClock) -> None:
    await lifecycle.put(NAME, UNTAGGED_DAYS)
    assert (await lifecycle.get(NAME)).evaluated_at is None

    await lifecycle.expire(NAME)
    await lifecycle.put(NAME, UNTAGGED_DAYS)
    assert (await lifecycle.get(NAME)).evaluated_at == clock.now()

    await lifecycle.put(NAME, KEEP_TWO)
    assert (await lifecycle.get(NAME)).evaluated_at is None


# --- carried out --------------------------------------------------------------------------------------------------


async def test_images_go_when_their_days_have_passed(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    kept, old = await push(store, "kept", "v1"), await push(store, "old")
    await lifecycle.put(NAME, UNTAGGED_DAYS)

    clock.advance(13.9 * DAY)
    assert await lifecycle.expire(NAME) == []
    clock.advance(0.2 * DAY)
    with capture_logs() as logs:
        assert await lifecycle.expire(NAME) == [old]

    assert await left(store) == {kept}
    assert [(one["event"], one["repository"], one["digests"]) for one in logs] == [("lifecycle.expired", NAME, 1)]
    assert (await lifecycle.get(NAME)).evaluated_at == clock.now()


async def test_images_beyond_a_count_go_from_the_oldest_with_their_tags(
    lifecycle: LifecycleAdministration, store: MeddledMetadata
) -> None:
    digests = [await push(store, f"image {number}", f"v{number}") for number in range(4)]
    await lifecycle.put(NAME, KEEP_TWO)

    assert await lifecycle.expire(NAME) == digests[:2]
    assert await store.tag(NAME, Tag("v1")) is None
    assert await store.tag(NAME, Tag("v2")) is not None


async def test_images_that_are_pulled_stay(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    used, unused = await push(store, "used", "v1"), await push(store, "unused", "v2")
    await lifecycle.put(NAME, ALL_UNUSED)

    for _ in range(4):
        clock.advance(20 * DAY)
        await store.note_pulls([PullNote(NAME, used, clock.now())])
        await lifecycle.expire(NAME)

    assert unused not in await left(store)
    assert await left(store) == {used}


async def test_transitions_leave_images_where_they_are(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    await push(store, "old", "v1")
    archiving = rule(1, {"tagStatus": "any"}, "sinceImagePushed", 1)
    await lifecycle.put(NAME, policy({**archiving, "action": {"type": "transition", "targetStorageClass": "archive"}}))
    clock.advance(2 * DAY)

    assert await lifecycle.expire(NAME) == []
    assert len(await left(store)) == 1


async def test_an_index_takes_its_images_and_an_image_its_signatures(
    lifecycle: LifecycleAdministration, store: MeddledMetadata
) -> None:
    for number in range(3):
        children = tuple(f"{platform} {number}" for platform in ("amd64", "arm64"))
        for child in children:
            await push(store, child)
        await push(store, f"index {number}", f"v{number}", children=children)
        await push(store, f"signature {number}", subject=f"index {number}")
    await lifecycle.put(NAME, KEEP_TWO)

    removed = await lifecycle.expire(NAME)

    assert set(removed) == {Digest.of(text.encode()) for text in ("amd64 0", "arm64 0", "index 0", "signature 0")}
    assert len(await left(store)) == 8


async def test_many_images_go_in_batches(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    for number in range(120):
        await push(store, f"child {number}")
        await push(store, f"index {number}", f"v{number}", children=(f"child {number}",))
    await lifecycle.put(NAME, ALL_UNUSED)
    clock.advance(31 * DAY)
    batches: list[int] = []

    async def note() -> None:
        batches.append(len(await left(store)))

    store.before_removal = note

    assert len(await lifecycle.expire(NAME)) == 240
    assert await left(store) == set()
    assert batches[0] == 240
    assert all(0 < before - after <= 100 for before, after in pairwise(batches))


async def test_a_repository_that_is_not_there_or_has_no_policy_losesnothing(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    await push(store, "old")
    clock.advance(1000 * DAY)

    assert await lifecycle.expire(NAME) == []
    assert await lifecycle.expire(OTHER) == []
    assert len(await left(store)) == 1


# --- what changes meanwhile ---------------------------------------------------------------------------------------


@pytest.fixture
async def expiring(store: MeddledMetadata, lifecycle: LifecycleAdministration, clock: FakeClock) -> Digest:
    """An image that is about to go."""
    digest = await push(store, "old")
    await lifecycle.put(NAME, UNTAGGED_DAYS)
    clock.advance(15 * DAY)
    return digest


async def test_an_image_that_gets_a_tag_in_the_last_moment_stays(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, expiring: Digest
) -> None:
    store.before_removal = lambda: push(store, "old", "rescued")

    assert await lifecycle.expire(NAME) == []
    assert await left(store) == {expiring}


async def test_an_image_that_is_pulled_in_the_last_moment_stays(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock, expiring: Digest
) -> None:
    store.before_removal = lambda: store.note_pulls([PullNote(NAME, expiring, clock.now())])

    assert await lifecycle.expire(NAME) == []
    assert await left(store) == {expiring}


async def test_an_image_that_an_index_names_in_the_last_moment_stays(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, expiring: Digest
) -> None:
    store.before_removal = lambda: push(store, "index", "v1", children=("old",))

    assert await lifecycle.expire(NAME) == []
    assert expiring in await left(store)


async def test_what_hangs_on_an_image_that_stays_stays(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    image = await push(store, "image", "v1")
    await push(store, "signature", subject="image")
    await lifecycle.put(NAME, ALL_UNUSED)
    clock.advance(31 * DAY)
    store.before_removal = lambda: store.note_pulls([PullNote(NAME, image, clock.now())])

    assert await lifecycle.expire(NAME) == []
    assert len(await left(store)) == 2


@pytest.mark.parametrize("text", [None, KEEP_TWO])
async def test_nothing_goes_by_a_policy_that_is_no_more(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, expiring: Digest, text: str | None
) -> None:
    store.while_judging = lambda: lifecycle.put(NAME, text) if text is not None else lifecycle.delete(NAME)

    assert await lifecycle.expire(NAME) == []

    assert await left(store) == {expiring}
    record = await store.repository(NAME)
    assert record is not None
    assert (record.details.lifecycle, record.details.lifecycle_evaluated_at) == (text, None)


async def test_nothing_goes_from_a_repository_that_was_made_anew(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, expiring: Digest
) -> None:
    async def make_anew() -> None:
        record = await store.remove_repository(NAME, force=True)
        assert record is not None
        await store.create_repository(replace(record, created_at=2.0))
        await push(store, "old")

    store.while_judging = make_anew

    assert await lifecycle.expire(NAME) == []
    assert await left(store) == {expiring}


# --- rounds -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def two(store: MeddledMetadata, lifecycle: LifecycleAdministration, clock: FakeClock) -> None:
    """Two repositories, each with an image that is about to go."""
    await store.create_repository(RepositoryRecord(OTHER, 1.0))
    for name in (NAME, OTHER):
        await push(store, "old", repository=name)
        await lifecycle.put(name, UNTAGGED_DAYS)
    clock.advance(15 * DAY)


@pytest.mark.usefixtures("two")
async def test_a_round_carries_out_all_policies(lifecycle: LifecycleAdministration, store: MeddledMetadata) -> None:
    assert await lifecycle.round() is True

    assert await left(store) == set()
    assert await left(store, OTHER) == set()


@pytest.mark.usefixtures("two")
async def test_one_repository_that_fails_leaves_the_others_be(
    lifecycle: LifecycleAdministration, store: MeddledMetadata
) -> None:
    # As another version may have written it.
    await store.alter_repository(NAME, lambda record: replace(record, details=replace(record.details, lifecycle="{}")))

    with capture_logs() as logs:
        assert await lifecycle.round() is True

    assert [(one["event"], one["repository"]) for one in logs if one["log_level"] == "error"] == [
        ("lifecycle.failed", NAME)
    ]
    assert await left(store, OTHER) == set()


async def test_rounds_are_an_interval_apart(lifecycle: LifecycleAdministration, clock: FakeClock) -> None:
    made = []
    for _ in range(4):
        made.append(await lifecycle.round())
        clock.advance(HOUR / 2)

    assert made == [True, False, True, False]


async def test_a_clock_that_is_set_back_does_not_put_rounds_off(
    lifecycle: LifecycleAdministration, clock: FakeClock
) -> None:
    await lifecycle.round()
    clock.advance(-365 * DAY)

    assert await lifecycle.round() is True


async def test_of_two_processes_one_makes_the_round(tmp_path: Path, clock: FakeClock, tasks: Tasks) -> None:
    first, second = [await SqlMetadataStore.open(tmp_path / "m.sqlite") for _ in range(2)]
    try:
        made = await asyncio.gather(
            *(administration(store, clock, tasks).round() for store in (first, second, first, second))
        )
    finally:
        await first.close()
        await second.close()

    assert sorted(made) == [False, False, False, True]


@pytest.mark.usefixtures("two")
async def test_a_round_that_another_process_makes_is_waited_for_until_its_lease_ends(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock, tasks: Tasks
) -> None:
    other, made = administration(store, clock, tasks), []

    async def look() -> None:
        store.while_judging = nothing
        made.append(await other.round())
        clock.advance(LEASE)
        made.append(await other.round())

    store.while_judging = look

    # What it has begun it ends; the rest is the other's.
    assert await lifecycle.round() is False
    assert made == [False, True]


@pytest.mark.usefixtures("two")
async def test_a_round_that_is_cancelled_can_be_begun_again_at_once(
    lifecycle: LifecycleAdministration, store: MeddledMetadata, clock: FakeClock
) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.Event().wait()

    store.while_judging = hang
    async with Tasks() as tasks:
        tasks.spawn("lifecycle", lifecycle.run())
        await began.wait()
    store.while_judging = nothing

    async with Tasks() as tasks:
        assert await administration(store, clock, tasks).round() is True
    assert await left(store) == set()


@pytest.mark.usefixtures("two")
async def test_the_loop_makes_rounds_again_and_again_whatever_fails(
    store: MeddledMetadata, clock: FakeClock, tasks: Tasks
) -> None:
    async def fail_once() -> None:
        store.while_judging = nothing
        raise OSError("the disk is away")

    store.while_judging = fail_once
    with capture_logs() as logs:
        tasks.spawn("lifecycle", administration(store, clock, tasks, interval=0.001).run())
        await _emptied(store, clock)
        await push(store, "next")
        clock.advance(15 * DAY)
        await _emptied(store, clock)

    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["lifecycle.failed"]


async def _emptied(store: MeddledMetadata, clock: FakeClock) -> None:
    async with asyncio.timeout(20):
        while await left(store) or await left(store, OTHER):
            clock.advance(1)
            await asyncio.sleep(0)
