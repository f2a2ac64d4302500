"""Tags in which the upstream has no say: those that a policy keeps from moving, and those that were pushed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.core.contents import record_of
from proxy.core.ports import (
    FetchedManifest,
    ManifestHead,
    ManifestPush,
    RepositoryRecord,
    TagRecord,
    TagWrite,
)
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.manifest import parse_manifest
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, OnUpstream404, Remote
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagMutability, TagPolicy
from tests.support.documents import image
from tests.support.fake_upstream import FakeUpstream
from tests.unit.core.conftest import SOURCE, Bench

LATEST = Tag("latest")
REPOSITORY = RepositoryName("quay/app/web")
IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)
BUT_LATEST = TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest",))
OLD, NEW, PUSHED = image(), image(b'{"new":1}'), image(b'{"pushed":1}')

Deed = Callable[[], Awaitable[object]]


class BusyUpstream(FakeUpstream):
    """An upstream whose answer takes long enough for something else to happen, once: `meanwhile` by method."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: dict[str, Deed] = {}

    async def head_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> ManifestHead:
        try:
            return await super().head_manifest(remote, reference, retry=retry)
        finally:
            await self._happen("HEAD")

    async def get_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> FetchedManifest:
        answer = await super().get_manifest(remote, reference, retry=retry)
        await self._happen("GET")
        return answer

    async def _happen(self, method: str) -> None:
        deed = self.meanwhile.pop(method, None)
        if deed is not None:
            await deed()


@pytest.fixture
def upstream(bench: Bench) -> BusyUpstream:
    busy = BusyUpstream()
    bench.upstream = busy
    bench.start()
    return busy


def journal(bench: Bench) -> list[str]:
    return [f"{request.method} {request.subject}" for request in bench.upstream.requests]


def immutable(bench: Bench, name: str = REPOSITORY) -> Resolution:
    """Resolve a name where the configuration makes all tags immutable."""
    return replace(bench.resolve(name), tag_policy=IMMUTABLE)


async def push(bench: Bench, raw: bytes = PUSHED, *tags: str) -> Digest:
    """Push a manifest as `tags` ("latest" without any)."""
    digest = Digest.of(raw)
    records = tuple(TagRecord(Tag(tag), digest, OCI_MANIFEST, UPLOADED, 0.0, 0.0) for tag in tags or ("latest",))
    manifest = record_of(FetchedManifest(raw, OCI_MANIFEST, digest), parse_manifest(raw, OCI_MANIFEST))
    await bench.contents.store(digest, raw)
    await bench.metadata.create_repository(RepositoryRecord(REPOSITORY, 0.0))
    await bench.metadata.push(REPOSITORY, ManifestPush(manifest, tags=TagWrite(records)), None)
    return digest


async def pull_elsewhere(bench: Bench, raw: bytes, *tags: str) -> Digest:
    """Let another process keep `raw` as tags of the upstream."""
    digest = Digest.of(raw)
    remote = bench.resolve().remote
    assert remote is not None
    now = bench.clock.now()
    records = tuple(TagRecord(Tag(tag), digest, OCI_MANIFEST, SOURCE, now, now) for tag in tags)
    content = FetchedManifest(raw, OCI_MANIFEST, digest), parse_manifest(raw, OCI_MANIFEST)
    assert await bench.contents.keep(REPOSITORY, content, remote.provenance, TagWrite(records))
    return digest


async def kept_tag(bench: Bench, tag: Tag = LATEST) -> TagRecord | None:
    return await bench.metadata.tag(REPOSITORY, tag)


async def holds(bench: Bench, raw: bytes) -> bool:
    return await bench.metadata.manifest(REPOSITORY, Digest.of(raw), None) is not None


# --- immutable tags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [None, IMMUTABLE])
async def test_tag_that_moves_upstream_stays_and_counts_as_checked(bench: Bench, own: TagPolicy | None) -> None:
    resolution = immutable(bench) if own is None else bench.resolve()
    bench.web.put(OLD, "latest")
    await bench.manifests.get(resolution, LATEST)
    await bench.metadata.set_tag_policy(REPOSITORY, own)
    bench.web.put(NEW, "latest")
    bench.clock.advance(301)
    for method in (bench.manifests.get, bench.manifests.head):
        answer = await method(resolution, LATEST)
        assert (answer.digest, answer.raw, answer.warning) == (Digest.of(OLD), OLD, None)
        bench.clock.advance(149)
    assert journal(bench) == ["GET latest", "HEAD latest"]
    assert not await holds(bench, NEW)
    assert (await bench.manifests.refresh(resolution, LATEST)).raw == OLD
    assert (await bench.manifests.get(resolution, Digest.of(NEW))).raw == NEW  # by digest there is nothing to keep


async def test_what_an_upstream_without_digests_sends_does_not_move_an_immutable_tag(bench: Bench) -> None:
    bench.upstream.digestless = True
    bench.web.put(OLD, "latest")
    await bench.manifests.get(immutable(bench), LATEST)
    bench.web.put(NEW, "latest")
    bench.clock.advance(301)
    assert (await bench.manifests.get(immutable(bench), LATEST)).raw == OLD
    assert journal(bench) == ["GET latest", "HEAD latest", "GET latest"]
    assert not await holds(bench, NEW)


@pytest.mark.parametrize(
    ("own", "default", "moved"),
    [
        (ALL_TAGS_MOVE, IMMUTABLE, ["latest", "v1"]),
        (BUT_LATEST, IMMUTABLE, ["latest"]),
        (None, BUT_LATEST, ["latest"]),
        (TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*",)), IMMUTABLE, ["latest"]),
        (IMMUTABLE, ALL_TAGS_MOVE, []),
    ],
)
async def test_policy_of_the_repository_counts_before_that_of_the_configuration(
    bench: Bench, own: TagPolicy | None, default: TagPolicy, moved: list[str]
) -> None:
    resolution = replace(bench.resolve(), tag_policy=default)
    bench.web.put(OLD, "latest", "v1")
    for tag in ("latest", "v1"):
        await bench.manifests.get(resolution, Tag(tag))
    await bench.metadata.set_tag_policy(REPOSITORY, own)
    bench.web.put(NEW, "latest", "v1")
    bench.clock.advance(301)
    answers = {tag: await bench.manifests.get(resolution, Tag(tag)) for tag in ("latest", "v1")}
    assert [tag for tag, answer in answers.items() if answer.raw == NEW] == moved
    assert {answer.raw for tag, answer in answers.items() if tag not in moved} <= {OLD}


async def test_policy_set_while_the_new_manifest_is_fetched_keeps_the_old(bench: Bench, upstream: BusyUpstream) -> None:
    bench.web.put(OLD, "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.web.put(NEW, "latest")
    bench.clock.advance(301)
    upstream.meanwhile["GET"] = lambda: bench.metadata.set_tag_policy(REPOSITORY, IMMUTABLE)
    for _ in range(2):
        answer = await bench.manifests.get(bench.resolve(), LATEST)
        assert (answer.digest, answer.raw) == (Digest.of(OLD), OLD)
    assert journal(bench) == ["GET latest", "HEAD latest", "GET latest", "HEAD latest"]
    assert not await holds(bench, NEW)


async def test_immutable_tag_that_appears_during_the_first_pull_is_served(bench: Bench, upstream: BusyUpstream) -> None:
    bench.web.put(NEW, "latest")
    upstream.meanwhile["GET"] = lambda: pull_elsewhere(bench, OLD, "latest")
    answer = await bench.manifests.get(immutable(bench), LATEST)
    assert (answer.digest, answer.raw, answer.status.hit) == (Digest.of(OLD), OLD, True)
    assert not await holds(bench, NEW)


async def test_immutable_tag_that_appears_during_the_first_head_is_served(bench: Bench, upstream: BusyUpstream) -> None:
    bench.web.put(NEW, "latest", "next")
    await bench.manifests.get(immutable(bench), Tag("next"))
    upstream.meanwhile["HEAD"] = lambda: pull_elsewhere(bench, OLD, "latest")
    answer = await bench.manifests.head(immutable(bench), LATEST)
    assert (answer.digest, answer.size) == (Digest.of(OLD), len(OLD))
    assert (await bench.manifests.get(immutable(bench), LATEST)).raw == OLD


async def test_immutable_tag_from_where_the_rule_led_before_is_neither_served_nor_moved(bench: Bench) -> None:
    bench.web.put(OLD, "latest")
    await bench.manifests.get(immutable(bench), LATEST)
    kept = await kept_tag(bench)
    bench.with_rule(upstream_prefix="mirror")
    bench.upstream.repository("quay.io/mirror/app/web").put(NEW, "latest")

    headed = await bench.manifests.head(immutable(bench), LATEST)
    pulled = await bench.manifests.get(immutable(bench), LATEST)
    by_digest = await bench.manifests.get(immutable(bench), Digest.of(NEW))
    headed_again = await bench.manifests.head(immutable(bench), LATEST)

    assert headed.digest == headed_again.digest == Digest.of(NEW)
    assert (pulled.raw, pulled.status.stored, pulled.status.outcome) == (NEW, False, "bypass")
    assert (by_digest.raw, by_digest.status.outcome) == (NEW, "hit")
    assert await kept_tag(bench) == kept
    bench.with_rule(upstream_prefix="")
    assert (await bench.manifests.get(immutable(bench), LATEST)).raw == OLD


async def test_pull_by_digest_keeps_the_tags_that_were_told_before_but_for_immutable_ones(bench: Bench) -> None:
    bench.web.put(NEW, "a", "latest", "z")
    for tag in ("a", "latest", "z"):
        await bench.manifests.head(immutable(bench), Tag(tag))
    await pull_elsewhere(bench, OLD, "latest", "z")
    answer = await bench.manifests.get(immutable(bench), Digest.of(NEW))
    assert (answer.raw, answer.status.stored) == (NEW, True)
    for tag, raw in (("a", NEW), ("latest", OLD), ("z", OLD)):
        record = await kept_tag(bench, Tag(tag))
        assert record is not None
        assert record.digest == Digest.of(raw)


async def test_pull_by_digest_through_another_process_keeps_the_tag_that_was_told_before(bench: Bench) -> None:
    bench.web.put(NEW, "latest")
    first = bench.manifests
    await first.head(bench.resolve(), LATEST)
    await first.keep_told()
    assert await kept_tag(bench) is None

    bench.start()
    await bench.manifests.get(bench.resolve(), Digest.of(NEW))
    assert await kept_tag(bench) is None
    await first.keep_told()
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert (await bench.manifests.get(bench.resolve(), LATEST)).raw == NEW


async def test_a_tag_that_was_told_comes_not_back_once_it_was_deleted(bench: Bench) -> None:
    bench.web.put(NEW, "latest")
    await bench.manifests.head(bench.resolve(), LATEST)
    await bench.manifests.get(bench.resolve(), Digest.of(NEW))
    assert await bench.metadata.delete_tag(REPOSITORY, LATEST)
    await bench.manifests.keep_told()
    assert await kept_tag(bench) is None


async def test_what_was_told_long_ago_is_not_looked_for(bench: Bench) -> None:
    bench.web.put(NEW, "latest")
    first = bench.manifests
    await first.head(bench.resolve(), LATEST)
    bench.clock.advance(11)
    bench.start()
    await bench.manifests.get(bench.resolve(), Digest.of(NEW))
    await first.keep_told()
    assert await kept_tag(bench) is None


async def test_deleted_immutable_tag_is_fetched_anew(bench: Bench) -> None:
    bench.web.put(OLD, "latest")
    await bench.manifests.get(immutable(bench), LATEST)
    bench.web.put(NEW, "latest")
    assert await bench.manifests.purge(immutable(bench), LATEST)
    assert (await bench.manifests.get(immutable(bench), LATEST)).raw == NEW


async def test_immutable_tag_bridges_a_failing_upstream_like_any_other(bench: Bench) -> None:
    bench.web.put(OLD, "latest")
    await bench.manifests.get(immutable(bench), LATEST)
    bench.clock.advance(301)
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    answer = await bench.manifests.get(immutable(bench), LATEST)
    assert (answer.raw, answer.status.stale) == (OLD, "unreachable")


# --- pushed tags ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pushable(bench: Bench, upstream: BusyUpstream) -> Bench:
    """The rule takes pushes."""
    assert bench.upstream is upstream
    bench.with_rule(push=True)
    return bench


async def test_pushed_tag_of_a_cache_repository_is_served_as_it_is(pushable: Bench) -> None:
    pushable.web.put(OLD, "latest")
    digest = await push(pushable)
    pushable.clock.advance(10_000_000)
    for method in (pushable.manifests.get, pushable.manifests.head, pushable.manifests.refresh):
        answer = await method(pushable.resolve(), LATEST)
        assert (answer.digest, answer.size, answer.warning) == (digest, len(PUSHED), None)
        assert answer.status.outcome == "hit"
    assert (await pushable.manifests.get(pushable.resolve(), digest)).raw == PUSHED
    assert journal(pushable) == []


async def test_pushed_tag_is_not_there_while_the_rule_takes_no_pushes(pushable: Bench) -> None:
    await push(pushable, PUSHED, "latest", "mine")
    pushable.with_rule(push=False)
    pushable.web.put(OLD, "upstream")
    for tag in ("latest", "mine"):
        with pytest.raises(ProxyError) as raised:
            await pushable.manifests.get(pushable.resolve(), Tag(tag))
        assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN
    assert (await pushable.listings.tags(pushable.resolve(), None, "")).tags == ["upstream"]
    assert journal(pushable) == ["GET latest", "GET mine", "tags "]
    pushable.with_rule(push=True)
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == PUSHED


async def test_pushed_tags_are_listed_with_those_of_the_upstream(pushable: Bench) -> None:
    pushable.web.put(OLD, "latest", "v1")
    await push(pushable, PUSHED, "latest", "mine")
    page = await pushable.listings.tags(pushable.resolve(), None, "")
    assert page.tags == ["latest", "mine", "v1"]
    assert (await pushable.listings.tags(pushable.resolve(), 1, "latest")).tags == ["mine"]


async def test_pushed_and_pulled_tags_are_listed_where_only_what_is_kept_is(pushable: Bench) -> None:
    pushable.with_character(ecr=True)
    pushable.web.put(OLD, "v1", "v2")
    await pushable.manifests.get(pushable.resolve(), Tag("v1"))
    await push(pushable, PUSHED, "mine")
    assert (await pushable.listings.tags(pushable.resolve(), None, "")).tags == ["mine", "v1"]
    page = await pushable.listings.tags(pushable.resolve(), 1, "")
    assert (page.tags, page.more) == (["mine"], True)


@pytest.mark.parametrize("failure", [None, UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED, UpstreamFailure.OFFLINE])
async def test_tags_of_a_repository_that_the_upstream_does_not_have_are_those_that_were_pushed(
    pushable: Bench, failure: UpstreamFailure | None
) -> None:
    if failure is not None:
        pushable.upstream.fail(failure)
    await push(pushable, PUSHED, "latest", "mine")
    for _ in range(2):
        assert (await pushable.listings.tags(pushable.resolve(), None, "")).tags == ["latest", "mine"]


@pytest.mark.parametrize("failure", [UpstreamFailure.UNREACHABLE, UpstreamFailure.TIMEOUT, UpstreamFailure.GARBAGE])
async def test_pushed_tags_are_no_whole_list_while_the_upstream_fails(
    pushable: Bench, failure: UpstreamFailure
) -> None:
    await push(pushable)
    pushable.upstream.fail(failure)
    with pytest.raises(ProxyError) as raised:
        await pushable.listings.tags(pushable.resolve(), None, "")
    assert raised.value.code.status in {502, 504}


async def test_pulled_tags_are_no_list_of_a_repository_that_is_gone_upstream(pushable: Bench) -> None:
    pushable.web.put(OLD, "latest")
    await pushable.manifests.get(pushable.resolve(), LATEST)
    pushable.upstream.repositories.clear()
    with pytest.raises(ProxyError) as raised:
        await pushable.listings.tags(pushable.resolve(), None, "")
    assert raised.value.code is ErrorCode.NAME_UNKNOWN


@pytest.mark.parametrize("pulled", [False, True])
async def test_tag_pushed_while_it_is_fetched_or_checked_stays(pushable: Bench, *, pulled: bool) -> None:
    assert isinstance(pushable.upstream, BusyUpstream)
    pushable.web.put(OLD, "latest")
    if pulled:
        await pushable.manifests.get(pushable.resolve(), LATEST)
        pushable.web.put(NEW, "latest")
        pushable.clock.advance(301)
    pushable.upstream.meanwhile["GET"] = lambda: push(pushable)
    answer = await pushable.manifests.get(pushable.resolve(), LATEST)
    assert answer.raw == PUSHED
    record = await kept_tag(pushable)
    assert record is not None
    assert (record.digest, record.source) == (Digest.of(PUSHED), UPLOADED)


async def test_tag_pushed_with_the_very_digest_that_is_being_fetched_is_a_pushed_one(pushable: Bench) -> None:
    assert isinstance(pushable.upstream, BusyUpstream)
    pushable.web.put(OLD, "latest")
    pushable.upstream.meanwhile["GET"] = lambda: push(pushable, OLD)
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == OLD
    pushable.web.put(NEW, "latest")
    pushable.clock.advance(301)
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == OLD


async def test_tag_pushed_after_its_head_is_not_undone_by_the_pull_of_its_digest(pushable: Bench) -> None:
    pushable.web.put(OLD, "latest")
    await pushable.manifests.head(pushable.resolve(), LATEST)
    await push(pushable)
    assert (await pushable.manifests.get(pushable.resolve(), Digest.of(OLD))).raw == OLD
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == PUSHED


async def test_tag_pushed_while_the_upstream_says_that_it_is_gone_is_not_purged(pushable: Bench) -> None:
    assert isinstance(pushable.upstream, BusyUpstream)
    pushable.with_rule(on_upstream_404=OnUpstream404.PURGE)
    pushable.web.put(OLD, "latest")
    await pushable.manifests.get(pushable.resolve(), LATEST)
    del pushable.web.tags["latest"]
    pushable.clock.advance(301)
    await pushable.manifests.get(pushable.resolve(), LATEST)
    pushable.clock.advance(3601)
    pushable.upstream.meanwhile["HEAD"] = lambda: push(pushable)
    with pytest.raises(ProxyError):
        await pushable.manifests.get(pushable.resolve(), LATEST)
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == PUSHED


async def test_pushed_tag_takes_the_place_of_a_pulled_one(pushable: Bench) -> None:
    pushable.web.put(OLD, "latest")
    await pushable.manifests.get(pushable.resolve(), LATEST)
    await push(pushable)
    pushable.clock.advance(301)
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == PUSHED
    assert journal(pushable) == ["GET latest"]


@pytest.mark.parametrize("reference", [LATEST, None])
async def test_what_was_pushed_is_not_purged(pushable: Bench, reference: Tag | None) -> None:
    pushable.web.put(OLD, "v1")
    await pushable.manifests.get(pushable.resolve(), Tag("v1"))
    await push(pushable)
    with pytest.raises(ProxyError, match="quay/app/web:latest was pushed here, not cached") as raised:
        await pushable.manifests.purge(pushable.resolve(), reference)
    assert raised.value.code is ErrorCode.UNSUPPORTED
    assert (await pushable.manifests.get(pushable.resolve(), LATEST)).raw == PUSHED
    assert await pushable.manifests.purge(pushable.resolve(), Tag("v1"))
