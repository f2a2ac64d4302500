"""Blobs: what is asked upstream, what is served, and what never is."""

import asyncio
import errno
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import pytest

from proxy.core.blobs import BlobService
from proxy.core.ports import BlobReader
from proxy.core.pushes import PushedManifest
from proxy.core.rules import Resolution
from proxy.core.sources import BlobRoute, BlobSource, TransferError
from proxy.core.uploads import Chunk
from proxy.model.cache_status import CacheStatus
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule, Provenance
from proxy.storage.blobs.memory import MemoryBlobStore
from tests.support.background import started
from tests.support.bodies import body
from tests.support.documents import descriptor, image
from tests.support.filling_metadata import FillingMetadata
from tests.support.routes import Gate
from tests.unit.core.conftest import ACCOUNT, Bench

LAYER = b"the bytes of a layer"
DIGEST = Digest.of(LAYER)


def methods(bench: Bench) -> list[str]:
    return [request.method for request in bench.upstream.requests]


async def content(source: BlobSource) -> bytes:
    try:
        return b"".join([data async for data in source.stream(0, source.total)])
    finally:
        source.close()


async def pull(bench: Bench, resolution: Resolution | None = None) -> bytes:
    return await content(await bench.blobs.open(resolution or bench.resolve(), DIGEST))


async def refused(bench: Bench, resolution: Resolution) -> ErrorCode:
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.open(resolution, DIGEST)
    return raised.value.code


async def test_first_pull_is_one_get_and_later_ones_ask_nobody(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    assert await pull(bench) == LAYER
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    await bench.tasks.drain(5)
    bench.start()
    source = await bench.blobs.open(bench.resolve(), DIGEST)
    assert (source.status.outcome, await content(source)) == ("hit", LAYER)
    assert (await bench.blobs.head(bench.resolve(), DIGEST)).size == len(LAYER)
    assert methods(bench) == ["GET blob"]


class HeldMetadata(FillingMetadata):
    """Metadata that keep a proof once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        await self.gate.wait()
        return await super().prove(repository, digest, provenance, make=make)


async def test_who_has_a_blob_whole_finds_it_proven_by_every_process(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    bench.metadata = metadata = HeldMetadata()
    bench.start()
    resolution = bench.resolve()
    assert resolution.remote is not None
    pulling = started(pull(bench))
    await metadata.gate.reached.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not pulling.done()
    metadata.gate.open()
    assert await pulling == LAYER
    assert await metadata.proven(resolution.repository, DIGEST, resolution.remote.provenance)


async def test_second_client_of_a_blob_has_it_whole_with_its_proof_too(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    bench.metadata = metadata = HeldMetadata()
    bench.start()
    first = started(pull(bench))
    await metadata.gate.reached.wait()
    pulling = started(pull(bench))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not pulling.done()
    metadata.gate.open()
    assert await first == LAYER
    assert await pulling == LAYER


async def test_size_of_a_fill_comes_from_the_descriptor(bench: Bench) -> None:
    bench.web.put(image(b"{}", LAYER), "latest")
    bench.web.put_blob(LAYER)
    await bench.manifests.get(bench.resolve(), Tag("latest"))
    await pull(bench)
    assert bench.fills.sizes == [len(LAYER)]


async def test_answer_of_another_size_than_the_descriptor_says_is_no_proof_yet(bench: Bench) -> None:
    bench.web.put(image(b"{}", layers=[descriptor(LAYER) | {"size": 99}]), "latest")
    bench.web.put_blob(LAYER)
    await bench.manifests.get(bench.resolve(), Tag("latest"))
    assert await pull(bench) == LAYER
    assert methods(bench) == ["GET", "GET blob", "HEAD blob"]


async def test_head_never_starts_a_fill(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    heads = [await bench.blobs.head(bench.resolve(), DIGEST) for _ in range(3)]
    assert [(head.size, head.status.outcome) for head in heads] == [
        (len(LAYER), "miss"),
        (len(LAYER), "hit"),
        (len(LAYER), "hit"),
    ]
    assert methods(bench) == ["HEAD blob"]
    assert bench.fills.sizes == []


async def test_head_is_answered_by_the_descriptor(bench: Bench) -> None:
    bench.web.put(image(b"{}", LAYER), "latest")
    await bench.manifests.get(bench.resolve(), Tag("latest"))
    assert (await bench.blobs.head(bench.resolve(), DIGEST)).size == len(LAYER)
    assert methods(bench) == ["GET"]


async def test_where_clients_push_no_manifest_says_that_a_blob_is_there(bench: Bench) -> None:
    # Who is told so does not push it, and what was deleted here would never come back.
    bench.with_rule(push=True)
    resolution = bench.resolve()
    for blob in (b"{}", LAYER):
        await bench.uploads.whole(resolution, Digest.of(blob), Chunk(body(blob)))
    await bench.pushes.put(resolution, PushedManifest(image(b"{}", LAYER), OCI_MANIFEST, Tag("v1")))
    await bench.deletions.blob(resolution, DIGEST)
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(resolution, DIGEST)
    assert raised.value.code.status == 404
    assert methods(bench) == ["HEAD blob"]


async def test_head_of_a_layer_that_is_elsewhere_asks_upstream(bench: Bench) -> None:
    foreign = descriptor(LAYER, urls=["https://elsewhere.example/layer"])
    bench.web.put(image(b"{}", layers=[foreign]), "latest")
    await bench.manifests.get(bench.resolve(), Tag("latest"))
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(bench.resolve(), DIGEST)
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN
    assert methods(bench) == ["GET", "HEAD blob"]


async def test_stored_blob_without_proof_costs_one_head_for_all_time(bench: Bench) -> None:
    bench.store.keep(DIGEST, LAYER)
    bench.web.put_blob(LAYER)
    first = await bench.blobs.open(bench.resolve(), DIGEST)
    bench.start()
    second = await bench.blobs.open(bench.resolve(), DIGEST)
    assert (first.status.outcome, second.status.outcome) == ("revalidated", "hit")
    assert await content(first) == await content(second) == LAYER
    assert methods(bench) == ["HEAD blob"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UpstreamFailure.UNREACHABLE, ErrorCode.UPSTREAM_UNAVAILABLE),
        (UpstreamFailure.TIMEOUT, ErrorCode.UPSTREAM_TIMEOUT),
        (UpstreamFailure.RATE_LIMITED, ErrorCode.TOOMANYREQUESTS),
        (UpstreamFailure.NOT_FOUND, ErrorCode.BLOB_UNKNOWN),
        (UpstreamFailure.DENIED, ErrorCode.NAME_UNKNOWN),
        (UpstreamFailure.OFFLINE, ErrorCode.BLOB_UNKNOWN),
    ],
)
async def test_stored_blob_without_proof_is_never_served_when_the_upstream_fails(
    bench: Bench, failure: UpstreamFailure, code: ErrorCode
) -> None:
    bench.store.keep(DIGEST, LAYER)
    bench.upstream.fail(failure)
    assert await refused(bench, bench.resolve()) is code
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(bench.resolve(), DIGEST)
    assert raised.value.code is code


async def test_offline_rule_makes_no_request_for_blobs(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    bench.with_rule(offline=True)
    assert await refused(bench, bench.resolve()) is ErrorCode.BLOB_UNKNOWN
    bench.store.keep(DIGEST, LAYER)
    assert await refused(bench, bench.resolve()) is ErrorCode.BLOB_UNKNOWN
    assert bench.upstream.requests == []


async def test_upstream_that_speaks_of_another_size_proves_nothing(bench: Bench) -> None:
    bench.store.keep(DIGEST, LAYER)
    bench.web.blobs[DIGEST] = b"short"
    assert await refused(bench, bench.resolve()) is ErrorCode.UPSTREAM_INVALID
    assert await refused(bench, bench.resolve()) is ErrorCode.UPSTREAM_INVALID


async def test_lost_file_of_a_proven_blob_is_fetched_again(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    await pull(bench)
    await bench.store.delete(DIGEST)
    assert await pull(bench) == LAYER
    assert methods(bench) == ["GET blob", "GET blob"]


class UnreadableStore(MemoryBlobStore):
    """A store out of which one blob cannot be read for a while."""

    async def open(self, digest: Digest) -> BlobReader | None:
        if digest == DIGEST and self.unreadable:
            raise OSError(errno.EMFILE, "too many open files")
        return await super().open(digest)

    unreadable = True


async def test_blob_that_cannot_be_opened_now_is_neither_deleted_nor_fetched_again(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    await pull(bench)
    await bench.tasks.drain(5)
    bench.store = store = UnreadableStore()
    store.keep(DIGEST, LAYER)
    bench.begin()
    assert await refused(bench, bench.resolve()) is ErrorCode.UNAVAILABLE
    store.unreadable = False
    assert await pull(bench) == LAYER
    assert methods(bench) == ["GET blob"]


async def test_proof_that_cannot_be_written_does_not_fail_the_pull(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    bench.metadata.full = True
    assert await pull(bench) == LAYER
    await bench.tasks.drain(5)
    bench.start()
    assert await pull(bench) == LAYER
    assert methods(bench) == ["GET blob", "HEAD blob"]


async def test_refusal_of_a_blob_is_remembered(bench: Bench) -> None:
    for _ in range(3):
        assert await refused(bench, bench.resolve()) is ErrorCode.BLOB_UNKNOWN
    assert methods(bench) == ["GET blob"]


async def test_hosted_blob_needs_a_proof_of_its_own_repository(bench: Bench) -> None:
    bench.store.keep(DIGEST, LAYER)
    mine, other = bench.resolve("team/app"), bench.resolve("team/other")
    await bench.metadata.prove(mine.repository, DIGEST, None)
    assert await pull(bench, mine) == LAYER
    assert (await bench.blobs.head(mine, DIGEST)).size == len(LAYER)
    assert await refused(bench, other) is ErrorCode.BLOB_UNKNOWN
    with pytest.raises(ProxyError) as raised:
        await bench.blobs.head(other, DIGEST)
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN


async def test_lost_file_of_a_hosted_blob_is_unknown(bench: Bench) -> None:
    resolution = bench.resolve("team/app")
    await bench.metadata.prove(resolution.repository, DIGEST, None)
    assert await refused(bench, resolution) is ErrorCode.BLOB_UNKNOWN
    with pytest.raises(ProxyError):
        await bench.blobs.head(resolution, DIGEST)


# --- two rules, two accounts, one private layer ---------------------------------------------------------------------

THEIRS = "open/app/web"


@pytest.fixture
def private(bench: Bench) -> Bench:
    """The rule quay may read the layer in its upstream repository; the anonymous rule open may read another one."""
    rule = bench.with_rule(credentials=ACCOUNT, ns=True)
    bench.rules = (rule, CacheRule("open", rule.upstream))
    bench.web.accounts = frozenset({ACCOUNT.identity})
    bench.web.put_blob(LAYER)
    bench.web.put(image(b"{}", LAYER), "latest")
    return bench


async def test_private_layer_is_not_served_to_another_account(private: Bench) -> None:
    await pull(private)
    assert await refused(private, private.resolve(THEIRS)) is ErrorCode.NAME_UNKNOWN


async def test_private_layer_is_not_shown_by_head_to_another_account(private: Bench) -> None:
    await pull(private)
    with pytest.raises(ProxyError) as raised:
        await private.blobs.head(private.resolve(THEIRS), DIGEST)
    assert raised.value.code is ErrorCode.NAME_UNKNOWN


async def test_naming_a_private_layer_in_an_own_manifest_does_not_open_it(private: Bench) -> None:
    await pull(private)
    public = private.upstream.repository("quay.io/evil/web")
    public.put(image(b"{}", LAYER), "latest")
    resolution = private.resolve("open/evil/web")
    await private.manifests.get(resolution, Tag("latest"))
    # HEAD repeats what the upstream's own manifest says, and tells nothing about what is stored.
    assert (await private.blobs.head(resolution, DIGEST)).size == len(LAYER)
    assert await refused(private, resolution) is ErrorCode.BLOB_UNKNOWN


async def test_private_layer_is_not_served_by_joining_its_fill(private: Bench) -> None:
    private.fills.held[DIGEST] = LAYER
    assert await refused(private, private.resolve(THEIRS)) is ErrorCode.NAME_UNKNOWN
    assert [given.closed for given in private.fills.given] == [True]
    assert [(request.method, request.account) for request in private.upstream.requests] == [("HEAD blob", "")]


async def test_private_layer_is_not_served_as_a_manifest(private: Bench) -> None:
    await private.manifests.get(private.resolve(), Tag("latest"))
    private.upstream.repository("quay.io/evil/web").put(image(), "latest")
    for name in (THEIRS, "open/evil/web"):
        with pytest.raises(ProxyError) as raised:
            await private.manifests.get(private.resolve(name), Digest.of(image(b"{}", LAYER)))
        assert raised.value.code.status == 404


async def test_account_that_shows_the_layer_may_join_the_fill(private: Bench) -> None:
    private.fills.held[DIGEST] = LAYER
    source = await private.blobs.open(private.resolve(), DIGEST)
    assert (source.status.outcome, await content(source)) == ("collapsed", LAYER)
    assert methods(private) == ["HEAD blob"]


async def test_join_is_refused_where_the_upstream_names_another_size(bench: Bench) -> None:
    bench.fills.held[DIGEST] = LAYER
    bench.web.blobs[DIGEST] = b"short"
    assert await refused(bench, bench.resolve()) is ErrorCode.UPSTREAM_INVALID
    assert [given.closed for given in bench.fills.given] == [True]


async def test_rules_with_one_upstream_and_one_account_share_the_proof(bench: Bench) -> None:
    first = bench.with_rule(ns=True)
    bench.rules = (first, CacheRule("twin", first.upstream))
    bench.web.put_blob(LAYER)
    await pull(bench)
    await bench.tasks.drain(5)
    bench.start()
    assert await pull(bench, bench.resolve("twin/app/web")) == LAYER
    assert methods(bench) == ["GET blob"]


async def test_another_repository_of_the_same_account_needs_its_own_proof(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    bench.upstream.repository("quay.io/app/db")
    await pull(bench)
    assert await refused(bench, bench.resolve("quay/app/db")) is ErrorCode.BLOB_UNKNOWN
    assert methods(bench) == ["GET blob", "HEAD blob"]


async def test_cold_clients_of_one_repository_cost_one_get_and_no_head(bench: Bench) -> None:
    bench.web.put_blob(LAYER)
    joined = asyncio.Event()

    class OneFill:
        """All clients get one fill, begun by the first."""

        opened = 0

        async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> BlobSource:
            self.opened += 1
            if self.opened == 1:
                async with route.open(0, ""):
                    bench.fills.held[DIGEST] = LAYER
                    joined.set()
            await joined.wait()
            return await bench.fills.open(digest, route, size=size)

    bench.blobs = BlobService(bench.metadata, bench.store, OneFill(), bench.upstreams, bench.contents.memory)
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(pull(bench)) for _ in range(20)]
    assert {task.result() for task in pulls} == {LAYER}
    assert methods(bench) == ["GET blob"]


async def test_client_that_leaves_an_unproven_blob_closes_what_it_read_from(bench: Bench) -> None:
    closed: list[str] = []

    class Endless:
        total = len(LAYER)
        status = CacheStatus()

        async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
            try:
                for position in range(start, stop):
                    yield LAYER[position : position + 1]
            finally:
                closed.append("stream")

        def at_rest(self) -> None:
            return None

        def close(self) -> None:
            closed.append("source")

    class QueuedFill:
        async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> BlobSource:  # noqa: ARG002 - the protocol's
            bench.clock.advance(20)
            return Endless()

    bench.web.put_blob(LAYER)
    bench.blobs = BlobService(bench.metadata, bench.store, QueuedFill(), bench.upstreams, bench.contents.memory)
    source = await bench.blobs.open(bench.resolve(), DIGEST)
    async with aclosing(cast("AsyncGenerator[bytes, None]", source.stream(0, source.total))) as stream:
        assert await anext(stream) == LAYER[:1]
    assert closed == ["stream"]
    source.close()
    assert closed == ["stream", "source"]


async def test_client_that_was_promised_headers_gets_no_byte_before_the_proof(bench: Bench) -> None:
    class QueuedFill:
        """Give headers from the descriptor's size after a long wait; the bytes come from somebody else's fill."""

        async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> BlobSource:
            bench.clock.advance(20)
            bench.fills.held[DIGEST] = LAYER
            return await bench.fills.open(digest, route, size=size)

    bench.blobs = BlobService(bench.metadata, bench.store, QueuedFill(), bench.upstreams, bench.contents.memory)
    source = await bench.blobs.open(bench.resolve(), DIGEST)
    assert methods(bench) == []
    with pytest.raises(TransferError):
        await content(source)
    assert [given.closed for given in bench.fills.given] == [True]

    bench.web.put_blob(LAYER)
    bench.clock.advance(61)
    assert await pull(bench) == LAYER
    assert methods(bench) == ["HEAD blob", "HEAD blob"]


async def test_stored_blob_that_ends_early_is_a_transfer_error(bench: Bench) -> None:
    class ShortReader:
        size = len(LAYER)

        async def read(self, position: int, size: int) -> bytes:
            return LAYER[:5][position : position + size]

        def file(self) -> None:
            return None

        def close(self) -> None:
            """Nothing is open."""

    class ShortStore(MemoryBlobStore):
        async def open(self, digest: Digest) -> BlobReader | None:
            del digest
            return ShortReader()

    bench.store = ShortStore()
    bench.begin()
    await bench.metadata.prove(bench.resolve("team/app").repository, DIGEST, None)
    with pytest.raises(TransferError):
        await content(await bench.blobs.open(bench.resolve("team/app"), DIGEST))


async def test_range_of_a_stored_blob_is_exactly_that_range(bench: Bench) -> None:
    big = bytes(range(256)) * 4096
    digest = Digest.of(big)
    bench.store.keep(digest, big)
    await bench.metadata.prove(bench.resolve("team/app").repository, digest, None)
    source = await bench.blobs.open(bench.resolve("team/app"), digest)
    read = b"".join([data async for data in source.stream(7, 800_001)])
    source.close()
    assert read == big[7:800_001]
