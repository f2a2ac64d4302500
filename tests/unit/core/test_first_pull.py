"""Callers who may pull what is kept, and may not have the upstream asked (`first_pull`): they never cause a request."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.completion import Completer
from proxy.core.imports import Importer
from proxy.core.negative import Asked
from proxy.core.rules import Resolution
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.pages import Page
from proxy.model.reference import Tag
from proxy.model.rule import OnUpstream404, Remote
from tests.support.documents import image
from tests.unit.core.conftest import RULE, Bench

LAYER = b"the bytes of a layer"
BLOB = Digest.of(LAYER)
RAW = image(b"{}", LAYER)
IMAGE = Digest.of(RAW)
LATEST = Tag("latest")
PAGE = Page(None, "")

Asking = Callable[[Bench, Resolution], Awaitable[object]]

WAYS: dict[str, Asking] = {
    "manifest by tag": lambda bench, found: bench.manifests.get(found, LATEST),
    "head by tag": lambda bench, found: bench.manifests.head(found, LATEST),
    "manifest by digest": lambda bench, found: bench.manifests.get(found, IMAGE),
    "head by digest": lambda bench, found: bench.manifests.head(found, IMAGE),
    "forced check": lambda bench, found: bench.manifests.refresh(found, LATEST),
    "blob": lambda bench, found: bench.blobs.open(found, BLOB),
    "head of a blob": lambda bench, found: bench.blobs.head(found, BLOB),
    "tags": lambda bench, found: bench.listings.tags(found, None, ""),
    "referrers": lambda bench, found: bench.listings.referrers(found, IMAGE, None, PAGE),
}


@pytest.fixture(autouse=True)
def upstream(bench: Bench) -> None:
    """Let the upstream hold an image, and a list of what refers to it."""
    bench.web.put(RAW, "latest")
    bench.web.put_blob(LAYER)
    bench.web.put_blob(b"{}")
    bench.web.referrers = {IMAGE: [Descriptor(OCI_MANIFEST, Digest.of(b"signature"), 9)]}


def restricted(bench: Bench, name: str = "quay/app/web") -> Resolution:
    """Return a repository as it is for who may not have it fetched."""
    found = bench.resolve(name)
    assert found.remote is not None
    return replace(found, remote=replace(found.remote, may_fetch=False))


async def refused(asking: Awaitable[object]) -> ProxyError:
    with pytest.raises(ProxyError) as raised:
        await asking
    return raised.value


async def done(asking: Awaitable[object]) -> Any:  # noqa: ANN401 - answers of several kinds
    return await asking


async def pull(bench: Bench) -> None:
    """Keep everything that the upstream has."""
    for way in WAYS.values():
        answer: Any = await way(bench, bench.resolve())
        if hasattr(answer, "close"):
            answer.close()
    await bench.tasks.drain(5)
    bench.tasks.draining = False


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_not_kept_is_refused_and_not_asked_for(bench: Bench, way: str) -> None:
    error = await refused(WAYS[way](bench, restricted(bench)))
    assert (error.code, error.code.status, error.detail["reason"]) == (ErrorCode.DENIED, 403, "not_permitted")
    assert "is not kept here" in error.message
    assert "first_pull" in error.message
    assert bench.upstream.journal == []


@pytest.mark.parametrize("later", [0, 400, 100_000])
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_kept_is_served_however_old_it_is(bench: Bench, way: str, later: int) -> None:
    await pull(bench)
    asked = bench.upstream.journal[:]
    bench.clock.advance(later)
    answer: Any = await WAYS[way](bench, restricted(bench))
    stale = answer.status.stale
    fresh = later == 0 or way not in {"manifest by tag", "head by tag", "forced check", "tags", "referrers"}
    assert stale == (None if fresh else "not_permitted")
    assert bench.upstream.journal == asked


@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_is_this_callers_alone(bench: Bench, way: str) -> None:
    await refused(WAYS[way](bench, restricted(bench)))
    await WAYS[way](bench, bench.resolve())
    assert bench.upstream.journal != []


@pytest.mark.parametrize("way", WAYS)
async def test_callers_of_one_moment_each_get_what_is_theirs(bench: Bench, way: str) -> None:
    callers = [restricted(bench), bench.resolve(), bench.resolve()]
    answers = await asyncio.gather(*(WAYS[way](bench, each) for each in callers), return_exceptions=True)
    assert [isinstance(each, ProxyError) for each in answers] == [True, False, False], answers


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_that_is_under_way_is_not_joined(bench: Bench, way: str) -> None:
    bench.upstream.open_gate.clear()
    async with asyncio.TaskGroup() as others:
        others.create_task(done(WAYS[way](bench, bench.resolve())))
        await bench.upstream.asked.wait()
        asked = bench.upstream.journal[:]
        assert (await refused(WAYS[way](bench, restricted(bench)))).code is ErrorCode.DENIED
        assert bench.upstream.journal == asked
        bench.upstream.open_gate.set()


@pytest.mark.parametrize("way", ["manifest by tag", "head by tag", "tags", "referrers"])
async def test_a_check_that_others_began_goes_on_for_them(bench: Bench, way: str) -> None:
    await pull(bench)
    bench.clock.advance(400)
    bench.upstream.open_gate.clear()
    bench.upstream.asked.clear()
    async with asyncio.TaskGroup() as others:
        permitted = others.create_task(done(WAYS[way](bench, bench.resolve())))
        await bench.upstream.asked.wait()
        asked = bench.upstream.journal[:]
        answer: Any = await WAYS[way](bench, restricted(bench))
        assert answer.status.stale == "not_permitted"
        assert bench.upstream.journal == asked
        bench.upstream.open_gate.set()
    assert permitted.result().status.stale is None


async def test_nothing_of_it_is_written_down(bench: Bench) -> None:
    await pull(bench)
    bench.clock.advance(400)
    before = bench.metadata.generation()
    for way in WAYS.values():
        await way(bench, restricted(bench))
    assert bench.metadata.generation() == before
    # The next one who may have it checked, has it checked.
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert answer.status.stale is None


async def test_a_blob_without_proof_is_not_had_though_it_is_stored(bench: Bench) -> None:
    bench.store.keep(BLOB, LAYER)
    for way in ("blob", "head of a blob"):
        assert (await refused(WAYS[way](bench, restricted(bench)))).code is ErrorCode.DENIED
    assert bench.upstream.journal == []


async def test_a_blob_that_is_named_and_not_kept_is_refused_by_head_as_by_get(bench: Bench) -> None:
    await bench.manifests.get(bench.resolve(), LATEST)
    asked = bench.upstream.journal[:]
    for way in ("blob", "head of a blob"):
        assert (await refused(WAYS[way](bench, restricted(bench)))).code is ErrorCode.DENIED
    assert bench.upstream.journal == asked


async def test_a_fill_under_way_is_not_joined(bench: Bench) -> None:
    await bench.blobs.head(bench.resolve(), BLOB)  # proven, so that nothing else stands in the way
    bench.fills.held[BLOB] = LAYER
    assert (await refused(bench.blobs.open(restricted(bench), BLOB))).code is ErrorCode.DENIED
    assert bench.fills.sizes == []


async def test_a_lost_file_is_not_fetched_again(bench: Bench) -> None:
    await pull(bench)
    await bench.store.delete(IMAGE)
    await bench.store.delete(BLOB)
    bench.begin()
    asked = bench.upstream.journal[:]
    for way in ("manifest by tag", "manifest by digest", "blob", "head of a blob"):
        assert (await refused(WAYS[way](bench, restricted(bench)))).code is ErrorCode.DENIED
    assert bench.upstream.journal == asked


async def test_a_tag_that_its_upstream_gave_up_is_gone_for_all(bench: Bench) -> None:
    bench.with_rule(on_upstream_404=OnUpstream404.NOT_FOUND)
    await pull(bench)
    bench.web.tags.clear()
    bench.clock.advance(400)
    await refused(WAYS["manifest by tag"](bench, bench.resolve()))
    asked = bench.upstream.journal[:]
    assert (await refused(WAYS["manifest by tag"](bench, restricted(bench)))).code is ErrorCode.MANIFEST_UNKNOWN
    assert bench.upstream.journal == asked


async def test_kept_tags_are_a_whole_list_where_none_of_the_upstream_is_kept(bench: Bench) -> None:
    await bench.manifests.get(bench.resolve(), LATEST)
    page = await bench.listings.tags(restricted(bench), None, "")
    assert page.tags == ["latest"]


async def test_what_was_refused_to_others_is_not_told(bench: Bench) -> None:
    bench.upstream.fail(UpstreamFailure.NOT_FOUND)
    ways = [way for name, way in WAYS.items() if name != "referrers"]  # where these are not found, there are none
    for way in ways:
        await refused(way(bench, bench.resolve()))
    for way in ways:
        assert (await refused(way(bench, restricted(bench)))).detail["reason"] == "not_permitted"


async def test_a_pulled_layer_completes_nothing(bench: Bench) -> None:
    await bench.manifests.get(bench.resolve(), LATEST)
    (await bench.blobs.open(bench.resolve(), BLOB)).close()
    asked = bench.upstream.journal[:]
    fills: Any = bench.fills
    completer = Completer(
        bench.metadata, bench.store, bench.manifests, bench.blobs, fills, bench.upstreams, bench.metrics
    )
    completer.manifest_pulled(restricted(bench), IMAGE)
    completer.blob_pulled(restricted(bench), BLOB)
    assert completer._waiting == {}  # noqa: SLF001 - nobody else tells
    assert bench.upstream.journal == asked


async def test_a_push_brings_nothing(bench: Bench) -> None:
    importer = Importer(bench.blobs, bench.manifests, bench.metadata)
    assert not await importer.bring_manifest(restricted(bench), IMAGE)
    assert not await importer.bring_blob(restricted(bench), BLOB)
    assert bench.upstream.journal == []
    assert await importer.bring_blob(bench.resolve(), BLOB)


async def test_no_refusal_for_want_of_permission_is_remembered(bench: Bench) -> None:
    remote = bench.resolve().remote
    assert remote is not None
    error = UpstreamError(UpstreamFailure.NOT_PERMITTED, "no")
    for asked in Asked:
        bench.upstreams.refused(remote, asked, "latest", error)
        bench.upstreams.permit(remote, asked, "latest")


def test_who_may_not_have_it_fetched_is_told_so_whatever_else_stands_against_it(bench: Bench) -> None:
    remote = Remote(replace(RULE, offline=True), bench.resolve().repository, may_fetch=False)
    assert bench.policy.silence(remote) is UpstreamFailure.NOT_PERMITTED
    assert bench.policy.silence(replace(remote, may_fetch=True)) is UpstreamFailure.OFFLINE
    assert bench.policy.silence(replace(remote, may_fetch=True, rule=RULE)) is None
