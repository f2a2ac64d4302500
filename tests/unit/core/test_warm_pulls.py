"""Pulls from memory: which are, that they wait for nothing, and that nobody can tell them from others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from proxy.core.ports import BlobReader, ManifestRecord, TagRecord
from proxy.core.pushes import PushedManifest
from proxy.core.rules import Resolution
from proxy.core.sources import BlobSource
from proxy.core.stored import HeldBlob, StoredBlob
from proxy.core.tasks import Tasks
from proxy.core.uploads import Chunk
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from proxy.storage.blobs.memory import MemoryBlobStore
from tests.support.bodies import body
from tests.support.clock import FakeClock
from tests.support.documents import image
from tests.support.fake_upstream import FakeUpstream
from tests.support.filling_metadata import FillingMetadata
from tests.unit.core.conftest import Bench

T = TypeVar("T")

LATEST = Tag("latest")
OTHER = image(b'{"other":1}')
LAYER = b"the bytes of a layer"
LARGE = bytes((256 << 10) + 1)


class PausingMetadata(FillingMetadata):
    """Metadata whose queries take a moment, as those of a database do; `meanwhile` happens in the first of them."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def tag(self, repository: RepositoryName, tag: Tag) -> TagRecord | None:
        return await self._slowly(await super().tag(repository, tag))

    async def manifest(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> ManifestRecord | None:
        return await self._slowly(await super().manifest(repository, digest, provenance))

    async def proven(self, repository: RepositoryName, digest: Digest, provenance: Provenance | None) -> bool:
        return await self._slowly(await super().proven(repository, digest, provenance))

    async def _slowly(self, found: T) -> T:
        await asyncio.sleep(0)
        deed, self.meanwhile = self.meanwhile, None
        if deed is not None:
            await deed()
        return found


class PausingBlobs(MemoryBlobStore):
    """Blobs that take a moment to be found, as files do."""

    async def stat(self, digest: Digest) -> int | None:
        await asyncio.sleep(0)
        return await super().stat(digest)

    async def open(self, digest: Digest) -> BlobReader | None:
        await asyncio.sleep(0)
        return await super().open(digest)


@pytest.fixture
def metadata() -> PausingMetadata:
    return PausingMetadata()


@pytest.fixture
async def bench(clock: FakeClock, metadata: PausingMetadata) -> AsyncIterator[Bench]:
    async with Tasks() as tasks:
        yield Bench(FakeUpstream(), clock, tasks, metadata=metadata, store=PausingBlobs())


class WaitedError(Exception):
    """Something was waited for: a query, a thread, another task."""


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` comes to without a pause, or raise `WaitedError`."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise WaitedError


async def content(source: BlobSource, start: int = 0, stop: int | None = None) -> bytes:
    try:
        return b"".join([data async for data in source.stream(start, source.total if stop is None else stop)])
    finally:
        source.close()


async def warmed(bench: Bench) -> Digest:
    """Pull the image of quay/app/web until it comes from memory, by tag and by digest."""
    digest = bench.web.put(image(), "latest")
    for reference in (LATEST, digest) * 2:
        await bench.manifests.get(bench.resolve(), reference)
    bench.upstream.requests.clear()
    return digest


async def hosted(bench: Bench, *layers: bytes) -> Resolution:
    """Return a hosted repository with an image, `latest`, that was pulled by tag and by digest."""
    found = bench.resolve("team/app")
    for blob in (b"{}", *layers):
        await bench.uploads.whole(found, Digest.of(blob), Chunk(body(blob)))
    await push(bench, found, image())
    for reference in (LATEST, Digest.of(image())):
        await bench.manifests.get(found, reference)
    return found


async def push(bench: Bench, resolution: Resolution, raw: bytes) -> None:
    await bench.pushes.put(resolution, PushedManifest(raw, OCI_MANIFEST, LATEST))


# --- manifests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("reference", [LATEST, Digest.of(image())], ids=["tag", "digest"])
async def test_a_pull_from_memory_waits_for_nothing_and_answers_the_same(
    bench: Bench, method: str, reference: Tag | Digest
) -> None:
    await warmed(bench)
    bench.start()
    cold = await getattr(bench.manifests, method)(bench.resolve(), reference)
    warm = at_once(getattr(bench.manifests, method)(bench.resolve(), reference))

    assert warm == cold
    assert (warm.raw, warm.status.outcome, warm.warning) == (image(), "hit", None)
    assert bench.upstream.requests == []


@pytest.mark.parametrize("reference", [LATEST, Digest.of(image())], ids=["tag", "digest"])
async def test_a_hosted_manifest_comes_from_memory(bench: Bench, reference: Tag | Digest) -> None:
    found = await hosted(bench)
    assert at_once(bench.manifests.get(found, reference)).raw == image()


async def test_a_moved_tag_is_seen_in_the_next_request(bench: Bench) -> None:
    found = await hosted(bench)
    await push(bench, found, image(annotations={"new": "yes"}))

    answer = await bench.manifests.get(found, LATEST)
    assert answer.raw == image(annotations={"new": "yes"})
    assert at_once(bench.manifests.get(found, LATEST)) == answer


@pytest.mark.parametrize("reference", [LATEST, Digest.of(image())], ids=["tag", "digest"])
async def test_what_is_deleted_while_it_is_looked_up_is_gone_in_the_next_request(
    bench: Bench, metadata: PausingMetadata, reference: Tag | Digest
) -> None:
    found = await hosted(bench)
    bench.start()
    metadata.meanwhile = lambda: bench.deletions.manifest(found, reference)
    assert (await bench.manifests.get(found, reference)).raw == image()  # it was there when the request came

    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(found, reference)
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN


@pytest.mark.parametrize("gone", [LATEST, Digest.of(image())], ids=["tag", "digest"])
async def test_what_is_deleted_is_gone_in_the_next_request(bench: Bench, gone: Tag | Digest) -> None:
    found = await hosted(bench)
    await bench.deletions.manifest(found, gone)

    for method in (bench.manifests.get, bench.manifests.head):
        with pytest.raises(ProxyError) as raised:
            await method(found, gone)
        assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN


async def test_a_purged_repository_is_pulled_anew(bench: Bench) -> None:
    await warmed(bench)
    await bench.manifests.purge(bench.resolve(), None)
    await bench.manifests.get(bench.resolve(), LATEST)

    assert [request.method for request in bench.upstream.requests] == ["GET"]


async def test_a_tag_is_checked_when_its_time_is_over_and_not_before(bench: Bench) -> None:
    await warmed(bench)
    bench.clock.advance(299.5)
    at_once(bench.manifests.get(bench.resolve(), LATEST))
    bench.clock.advance(0.5)
    with pytest.raises(WaitedError):
        at_once(bench.manifests.get(bench.resolve(), LATEST))
    at_once(bench.manifests.get(bench.resolve(), Digest.of(image())))  # a digest needs no check

    moved = bench.web.put(OTHER, "latest")
    assert (await bench.manifests.get(bench.resolve(), LATEST)).digest == moved


async def test_a_shorter_time_of_a_reload_counts_at_once(bench: Bench) -> None:
    await warmed(bench)
    bench.clock.advance(10)
    bench.with_rule(revalidate_after=timedelta(seconds=5))
    answer = await bench.manifests.get(bench.resolve(), LATEST)

    assert answer.status.outcome == "revalidated"


async def test_answers_with_a_warning_are_not_remembered(bench: Bench) -> None:
    await warmed(bench)
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    bench.clock.advance(301)
    first = await bench.manifests.get(bench.resolve(), LATEST)
    second = await bench.manifests.get(bench.resolve(), LATEST)

    assert (first.status.outcome, second.status.outcome) == ("stale", "stale")
    assert first.warning is not None
    assert second.warning is not None
    with pytest.raises(WaitedError):
        at_once(bench.manifests.get(bench.resolve(), LATEST))


async def test_a_tag_that_the_upstream_lost_is_not_remembered_while_offline(bench: Bench) -> None:
    await warmed(bench)
    bench.web.tags.clear()
    await bench.manifests.refresh(bench.resolve(), LATEST)
    bench.with_rule(offline=True)
    await bench.manifests.get(bench.resolve(), LATEST)

    with pytest.raises(WaitedError):
        at_once(bench.manifests.get(bench.resolve(), LATEST))


async def test_what_came_through_another_repository_is_remembered_once_it_is_this_ones_own(bench: Bench) -> None:
    digest = await warmed(bench)
    other = bench.with_rule(prefix="mirror")
    found = bench.resolve("mirror/app/web")
    assert found.remote is not None
    assert found.remote.rule is other
    await bench.manifests.get(found, digest)
    assert await bench.metadata.manifest(found.repository, digest, None) is not None
    await bench.manifests.get(found, digest)

    assert at_once(bench.manifests.get(found, digest)).raw == image()


async def test_a_lost_file_is_noticed_with_the_next_change(bench: Bench) -> None:
    digest = await warmed(bench)
    await bench.store.delete(digest)
    assert at_once(bench.manifests.get(bench.resolve(), digest)).raw == image()
    bench.start()

    assert (await bench.manifests.get(bench.resolve(), digest)).status.outcome == "miss"


# --- blobs --------------------------------------------------------------------------------------------------------


async def pulled(bench: Bench, layer: bytes) -> Digest:
    """Pull a blob of quay/app/web until it comes from the store, by a proof of its own."""
    digest = bench.web.put_blob(layer)
    await content(await bench.blobs.open(bench.resolve(), digest))
    await bench.tasks.drain(5)
    bench.start()
    await content(await bench.blobs.open(bench.resolve(), digest))
    bench.upstream.requests.clear()
    return digest


async def test_a_small_blob_comes_from_memory(bench: Bench) -> None:
    digest = await pulled(bench, LAYER)
    source = at_once(bench.blobs.open(bench.resolve(), digest))
    head = at_once(bench.blobs.head(bench.resolve(), digest))

    assert isinstance(source, HeldBlob)
    assert (source.total, source.status.outcome) == (len(LAYER), "hit")
    assert (head.size, head.status) == (len(LAYER), source.status)
    assert await content(source) == LAYER
    assert await content(source, 4, 9) == LAYER[4:9]
    assert await content(source, 3, 3) == b""
    assert bench.upstream.requests == []


async def test_a_small_hosted_blob_comes_from_memory(bench: Bench) -> None:
    found = await hosted(bench, LAYER)
    assert await content(await bench.blobs.open(found, Digest.of(LAYER))) == LAYER

    assert await content(at_once(bench.blobs.open(found, Digest.of(LAYER)))) == LAYER


async def test_a_large_blob_comes_from_its_file(bench: Bench) -> None:
    found = await hosted(bench, LARGE)
    for _ in range(2):
        source = await bench.blobs.open(found, Digest.of(LARGE))
        assert isinstance(source, StoredBlob)
        assert await content(source) == LARGE
    assert bench.contents.memory.get(Digest.of(LARGE)) is None


async def test_the_largest_small_blob_comes_from_memory(bench: Bench) -> None:
    found = await hosted(bench, LARGE[1:])
    await content(await bench.blobs.open(found, Digest.of(LARGE[1:])))

    assert await content(at_once(bench.blobs.open(found, Digest.of(LARGE[1:])))) == LARGE[1:]


async def test_who_pushes_is_told_by_the_disk_which_blobs_are_there(bench: Bench) -> None:
    found = await hosted(bench, LAYER)
    await content(await bench.blobs.open(found, Digest.of(LAYER)))
    await bench.store.delete(Digest.of(LAYER))

    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(found, Digest.of(LAYER))
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN


async def test_a_deleted_blob_is_gone_in_the_next_request(bench: Bench) -> None:
    found = await hosted(bench, LAYER)
    await content(await bench.blobs.open(found, Digest.of(LAYER)))
    await bench.deletions.blob(found, Digest.of(LAYER))

    with pytest.raises(ProxyError) as raised:
        await bench.blobs.open(found, Digest.of(LAYER))
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN


async def test_a_blob_that_is_deleted_while_it_is_looked_up_is_gone_in_the_next_request(
    bench: Bench, metadata: PausingMetadata
) -> None:
    found = await hosted(bench, LAYER)
    metadata.meanwhile = lambda: bench.deletions.blob(found, Digest.of(LAYER))
    assert await content(await bench.blobs.open(found, Digest.of(LAYER))) == LAYER

    with pytest.raises(ProxyError) as raised:
        await bench.blobs.open(found, Digest.of(LAYER))
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN


async def test_a_blob_of_one_repository_is_not_another_ones(bench: Bench) -> None:
    found = await hosted(bench, LAYER)
    await content(await bench.blobs.open(found, Digest.of(LAYER)))

    with pytest.raises(ProxyError) as raised:
        await bench.blobs.open(bench.resolve("team/other"), Digest.of(LAYER))
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN


async def test_a_blob_shown_by_another_repository_is_remembered_once_it_has_a_proof_of_its_own(bench: Bench) -> None:
    digest = await pulled(bench, LAYER)
    bench.with_rule(prefix="mirror")
    found = bench.resolve("mirror/app/web")
    source = await bench.blobs.open(found, digest)
    assert isinstance(source, StoredBlob)
    source.close()
    await bench.tasks.drain(5)
    assert await bench.metadata.proven(found.repository, digest, None)
    await content(await bench.blobs.open(found, digest))

    assert await content(at_once(bench.blobs.open(found, digest))) == LAYER
