"""When images were last pulled, noted in memory and written now and then."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from proxy.core.ports import ManifestPush, RepositoryRecord, StorageFullError
from proxy.core.registry.pull_notes import PullNotes, PullWatchers
from proxy.core.registry.records import PullNote
from proxy.core.rules import Resolution
from proxy.core.tasks import Tasks
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.clock import FakeClock
from tests.support.metadata import manifest

NAME = RepositoryName("team/app")
HERE = Resolution(NAME, None, "it is hosted here")
ONE, TWO = manifest("one").digest, manifest("two").digest


class Journal(MemoryMetadataStore):
    """Metadata that remember each transaction of notes; while `full` nothing is written, at a `gate` they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[PullNote]] = []
        self.full = False
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.done = asyncio.Event()

    async def note_pulls(self, notes: Sequence[PullNote]) -> None:
        self.waiting.set()
        await self.gate.wait()
        if self.full:
            raise StorageFullError("the disk is full")
        if self.broken:
            self.broken = False
            raise OSError("the device failed")
        self.written.append(list(notes))
        await super().note_pulls(notes)
        self.done.set()


@pytest.fixture
async def journal() -> Journal:
    store = Journal()
    await store.create_repository(RepositoryRecord(NAME, 1.0))
    for text in ("one", "two"):
        await store.push(NAME, ManifestPush(manifest(text)), None)
    return store


async def pulled_at(journal: Journal) -> dict[Digest, float | None]:
    return {image.digest: image.pulled_at for image in await journal.images(NAME, "", 10)}


async def test_an_image_is_written_once_with_its_last_pull(journal: Journal, clock: FakeClock) -> None:
    notes = PullNotes(journal, clock)
    for _ in range(1_000):
        clock.advance(0.25)
        notes.manifest_pulled(HERE, ONE)
        notes.blob_pulled(HERE, TWO)
    await notes.write()
    await notes.write()

    assert journal.written == [[PullNote(NAME, ONE, clock.now())]]
    assert await pulled_at(journal) == {ONE: clock.now(), TWO: None}


async def test_many_images_are_written_in_several_transactions(journal: Journal, clock: FakeClock) -> None:
    notes = PullNotes(journal, clock)
    digests = [Digest.of(str(number).encode()) for number in range(1_201)]
    for digest in digests:
        notes.manifest_pulled(HERE, digest)
    await notes.write()

    assert [len(batch) for batch in journal.written] == [500, 500, 201]
    assert [note.digest for batch in journal.written for note in batch] == digests


async def test_memory_is_bounded_and_the_longest_unpulled_go_first(journal: Journal, clock: FakeClock) -> None:
    notes = PullNotes(journal, clock, limit=3)
    digests = [Digest.of(str(number).encode()) for number in range(5)]
    for digest in (*digests[:3], digests[0], *digests[3:]):
        notes.manifest_pulled(HERE, digest)
    await notes.write()

    assert [note.digest for note in journal.written[0]] == [digests[0], *digests[3:]]


@pytest.mark.parametrize("trouble", ["full", "broken", "cancelled"])
async def test_what_cannot_be_written_is_written_later_with_newer_pulls(
    journal: Journal, clock: FakeClock, trouble: str
) -> None:
    notes = PullNotes(journal, clock)
    begun = clock.now()
    notes.manifest_pulled(HERE, ONE)
    notes.manifest_pulled(HERE, TWO)
    if trouble == "full":
        journal.full = True
        await notes.write()
    elif trouble == "broken":
        journal.broken = True
        with pytest.raises(OSError, match="failed"):
            await notes.write()
    else:
        journal.gate.clear()
        async with Tasks() as tasks:
            tasks.spawn("write", notes.write())
            await journal.waiting.wait()
    assert journal.written == []
    journal.full = False
    journal.gate.set()
    clock.advance(60)
    notes.manifest_pulled(HERE, TWO)
    await notes.write()

    assert await pulled_at(journal) == {ONE: begun, TWO: begun + 60}


async def test_pulls_while_others_are_written_are_kept_for_the_next_time(journal: Journal, clock: FakeClock) -> None:
    notes = PullNotes(journal, clock)
    notes.manifest_pulled(HERE, ONE)
    journal.gate.clear()
    async with Tasks() as tasks:
        tasks.spawn("write", notes.write())
        await journal.waiting.wait()
        clock.advance(5)
        notes.manifest_pulled(HERE, ONE)
        notes.manifest_pulled(HERE, TWO)
        journal.gate.set()
        await notes.write()

    assert await pulled_at(journal) == {ONE: clock.now(), TWO: clock.now()}


async def test_the_background_goes_on_after_a_failure(journal: Journal, clock: FakeClock) -> None:
    notes = PullNotes(journal, clock, every=timedelta(0))
    notes.manifest_pulled(HERE, ONE)
    journal.broken = True
    with capture_logs() as logs:
        async with Tasks() as tasks:
            tasks.spawn("note pulls", notes.run())
            async with asyncio.timeout(30):
                await journal.done.wait()

    assert [entry["event"] for entry in logs] == ["pulls.not_noted"]

    assert (await pulled_at(journal))[ONE] == clock.now()


async def test_all_watchers_are_told(journal: Journal, clock: FakeClock) -> None:
    class Told:
        def __init__(self) -> None:
            self.pulls: list[tuple[str, Digest]] = []

        def manifest_pulled(self, _: Resolution, digest: Digest) -> None:
            self.pulls.append(("manifest", digest))

        def blob_pulled(self, _: Resolution, digest: Digest) -> None:
            self.pulls.append(("blob", digest))

    told, notes = Told(), PullNotes(journal, clock)
    watchers = PullWatchers(told, notes)
    watchers.manifest_pulled(HERE, ONE)
    watchers.blob_pulled(HERE, TWO)
    await notes.write()

    assert told.pulls == [("manifest", ONE), ("blob", TWO)]
    assert [note.digest for note in journal.written[0]] == [ONE]
