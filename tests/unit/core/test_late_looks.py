"""Looks into the metadata that end after what they did not find was kept: threads and other workers make them so."""

import asyncio
from typing import TypeVar

import pytest

from proxy.core.ports import ManifestRecord, TagRecord
from proxy.core.tasks import Tasks
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from tests.support.background import started, until
from tests.support.clock import FakeClock
from tests.support.documents import image
from tests.support.fake_upstream import FakeUpstream
from tests.support.filling_metadata import FillingMetadata
from tests.unit.core.conftest import Bench

T = TypeVar("T")


class LateMetadata(FillingMetadata):
    """Metadata whose answers, once `late`, arrive when `arrive` is set, however old they are by then."""

    def __init__(self) -> None:
        super().__init__()
        self.late = False
        self.waiting = 0
        self.arrive = asyncio.Event()

    async def manifest(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> ManifestRecord | None:
        return await self._delay(await super().manifest(repository, digest, provenance))

    async def tag(self, repository: RepositoryName, tag: Tag) -> TagRecord | None:
        return await self._delay(await super().tag(repository, tag))

    async def _delay(self, found: T) -> T:
        if self.late:
            self.waiting += 1
            await self.arrive.wait()
        return found


@pytest.mark.parametrize("reference", ["latest", str(Digest.of(image()))])
async def test_what_was_kept_meanwhile_is_not_fetched_again(clock: FakeClock, reference: str) -> None:
    asked = Tag(reference) if reference == "latest" else Digest.of(image())
    async with Tasks() as tasks:
        metadata = LateMetadata()
        bench = Bench(FakeUpstream(), clock, tasks, metadata=metadata)
        bench.web.put(image(), "latest")
        metadata.late = True
        late = started(bench.manifests.get(bench.resolve(), asked))
        await until(lambda: metadata.waiting > 0)
        metadata.late = False
        await bench.manifests.get(bench.resolve(), asked)
        metadata.arrive.set()
        answer = await late
    assert (answer.raw, answer.status.outcome) == (image(), "hit")
    assert [request.method for request in bench.upstream.requests] == ["GET"]
