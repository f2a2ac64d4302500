"""Manifests by tag and digest: how often the upstream is asked, what is kept, and what is served."""

import asyncio

import pytest

from proxy.core.ports import BlobReader, FetchedManifest
from proxy.core.pushes import PushedManifest
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.model.rule import CacheRule
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.blobs.memory import MemoryBlobStore
from tests.support.documents import image, index
from tests.unit.core.conftest import ACCOUNT, Bench

LATEST = Tag("latest")
OTHER = image(b'{"other":1}')


def journal(bench: Bench) -> list[str]:
    return [f"{request.method} {request.subject}" for request in bench.upstream.requests]


async def test_first_pull_by_tag_is_one_get_and_the_next_ones_ask_nobody(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    first = await bench.manifests.get(bench.resolve(), LATEST)
    bench.start()
    bench.clock.advance(299)
    second = await bench.manifests.get(bench.resolve(), LATEST)
    by_digest = await bench.manifests.get(bench.resolve(), digest)
    headed = await bench.manifests.head(bench.resolve(), LATEST)

    assert (first.raw, first.media_type, first.digest, first.size) == (image(), OCI_MANIFEST, digest, len(image()))
    assert (first.status.outcome, second.status.outcome) == ("miss", "hit")
    assert first.status.stored
    assert second.raw == by_digest.raw == image()
    assert (headed.digest, headed.size) == (digest, len(image()))
    assert journal(bench) == ["GET latest"]


async def test_check_of_an_unmoved_tag_is_one_head(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(300)
    checked = await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(299)
    await bench.manifests.get(bench.resolve(), LATEST)
    assert checked.status.outcome == "revalidated"
    assert journal(bench) == ["GET latest", "HEAD latest"]


async def test_moved_tag_is_fetched_once_and_the_old_digest_stays(bench: Bench) -> None:
    old = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    new = bench.web.put(OTHER, "latest")
    bench.clock.advance(301)
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.digest, answer.raw, answer.status.stored) == (new, OTHER, True)
    assert (await bench.manifests.get(bench.resolve(), old)).raw == image()
    assert journal(bench) == ["GET latest", "HEAD latest", "GET latest"]


async def test_tag_that_moves_to_a_kept_manifest_needs_no_get(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    bench.web.put(OTHER, "next")
    await bench.manifests.get(bench.resolve(), LATEST)
    await bench.manifests.get(bench.resolve(), Tag("next"))
    bench.web.tags["latest"] = Digest.of(OTHER)
    bench.clock.advance(301)
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert answer.raw == OTHER
    assert journal(bench) == ["GET latest", "GET next", "HEAD latest"]
    remote = bench.resolve().remote
    assert remote is not None
    config = Digest.of(b'{"other":1}')
    assert await bench.metadata.descriptor(bench.resolve().repository, config, remote.provenance) is not None


async def test_digest_of_head_is_not_believed_over_the_bytes_of_get(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.upstream.claims["latest"] = Digest.of(b"between HEAD and GET the tag moved back")
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.digest, answer.raw) == (Digest.of(image()), image())


async def test_upstream_that_names_no_digest_is_asked_for_the_bytes(bench: Bench) -> None:
    bench.upstream.digestless = True
    digest = bench.web.put(image(), "latest")
    headed = await bench.manifests.head(bench.resolve(), LATEST)
    bench.clock.advance(301)
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert headed.digest == answer.digest == digest
    assert answer.status.outcome == "revalidated"
    assert journal(bench) == ["HEAD latest", "GET latest", "HEAD latest", "GET latest"]


async def test_head_of_an_uncached_tag_is_one_head_and_fetches_nothing(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    answers = [await bench.manifests.head(bench.resolve(), LATEST) for _ in range(3)]
    assert {(answer.digest, answer.size, answer.media_type) for answer in answers} == {
        (digest, len(image()), OCI_MANIFEST)
    }
    assert journal(bench) == ["HEAD latest"]
    assert [request.retry for request in bench.upstream.requests] == [True]
    bench.clock.advance(61)
    await bench.manifests.head(bench.resolve(), LATEST)
    assert journal(bench) == ["HEAD latest", "HEAD latest"]


async def test_head_by_tag_and_get_by_digest_keep_the_tag(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest", "v1")
    await bench.manifests.head(bench.resolve(), LATEST)
    await bench.manifests.head(bench.resolve(), Tag("v1"))
    await bench.manifests.get(bench.resolve(), digest)
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    for tag in (LATEST, Tag("v1")):
        assert (await bench.manifests.get(bench.resolve(), tag)).raw == image()


async def test_head_of_an_uncached_tag_of_a_kept_manifest_keeps_the_tag(bench: Bench) -> None:
    bench.web.put(image(), "latest", "v1")
    await bench.manifests.get(bench.resolve(), LATEST)
    await bench.manifests.head(bench.resolve(), Tag("v1"))
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert (await bench.manifests.get(bench.resolve(), Tag("v1"))).status.outcome == "hit"


async def test_head_of_a_child_is_answered_by_the_descriptor_in_its_index(bench: Bench) -> None:
    child = bench.web.put(image())
    bench.web.put(index(image()), "latest", media_type=OCI_INDEX)
    await bench.manifests.get(bench.resolve(), LATEST)
    answer = await bench.manifests.head(bench.resolve(), child)
    assert (answer.digest, answer.size, answer.media_type) == (child, len(image()), OCI_MANIFEST)
    assert journal(bench) == ["GET latest"]


async def test_where_clients_push_no_index_says_that_a_child_is_there(bench: Bench) -> None:
    # Who is told so does not push it, and what was deleted here would never come back.
    bench.with_rule(push=True)
    bench.sparse = True
    bench.start()
    pushed = PushedManifest(index(image()), OCI_INDEX, LATEST)
    await bench.pushes.put(bench.resolve(), pushed)
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.head(bench.resolve(), Digest.of(image()))
    assert raised.value.code.status == 404


async def test_head_by_digest_of_a_layer_is_no_manifest(bench: Bench) -> None:
    bench.web.put(image(b"{}", b"layer"), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.head(bench.resolve(), Digest.of(b"layer"))
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_first_pull_by_digest_works_in_both_algorithms(bench: Bench, algorithm: str) -> None:
    bench.web.put(image())
    digest = Digest.of(image(), algorithm)
    first = await bench.manifests.get(bench.resolve(), digest)
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    bench.start()
    bench.clock.advance(1_000_000)
    second = await bench.manifests.get(bench.resolve(), digest)
    assert (first.raw, first.digest) == (second.raw, second.digest) == (image(), digest)
    assert journal(bench) == [f"GET {digest}"]


async def test_cold_clients_share_one_get(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    bench.upstream.open_gate.clear()
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(bench.manifests.get(bench.resolve(), LATEST)) for _ in range(20)]
        heads = []
        await bench.upstream.asked.wait()
        heads.append(group.create_task(bench.manifests.head(bench.resolve(), LATEST)))
        bench.upstream.open_gate.set()
    assert {pull.result().raw for pull in pulls} == {image()}
    assert sorted({pull.result().status.outcome for pull in pulls}) == ["collapsed", "miss"]
    assert heads[0].result().digest == Digest.of(image())
    assert journal(bench) == ["GET latest"]


async def test_client_that_leaves_does_not_end_the_pull_of_others(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    bench.upstream.open_gate.clear()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(bench.manifests.get(bench.resolve(), LATEST))
        staying = group.create_task(bench.manifests.get(bench.resolve(), LATEST))
        await bench.upstream.asked.wait()
        leaving.cancel()
        bench.upstream.open_gate.set()
    assert leaving.cancelled()
    assert staying.result().raw == image()


async def test_refresh_asks_although_the_tag_is_fresh(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    new = bench.web.put(OTHER, "latest")
    assert (await bench.manifests.get(bench.resolve(), LATEST)).raw == image()
    assert (await bench.manifests.refresh(bench.resolve(), LATEST)).digest == new
    assert (await bench.manifests.get(bench.resolve(), LATEST)).digest == new


async def test_refresh_asks_again_what_was_refused_a_moment_ago(bench: Bench) -> None:
    bench.upstream.fail(UpstreamFailure.DENIED)
    with pytest.raises(ProxyError):
        await bench.manifests.get(bench.resolve(), LATEST)
    bench.upstream.recover()
    bench.web.put(image(), "latest")
    assert (await bench.manifests.refresh(bench.resolve(), LATEST)).raw == image()


async def test_failed_refresh_of_a_kept_tag_serves_it_stale(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.upstream.fail(UpstreamFailure.SERVER_ERROR)
    assert (await bench.manifests.refresh(bench.resolve(), LATEST)).status.stale == "server_error"


async def test_immutable_tag_keeps_its_digest_when_it_moves_upstream(bench: Bench) -> None:
    old = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    await bench.metadata.set_tag_policy(bench.resolve().repository, TagPolicy(TagMutability.IMMUTABLE))
    bench.web.put(OTHER, "latest")
    bench.clock.advance(301)
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.digest, answer.raw, answer.warning) == (old, image(), None)
    assert journal(bench) == ["GET latest", "HEAD latest"]


async def test_tags_made_of_digests_age_like_lists(bench: Bench) -> None:
    bench.with_rule(revalidate_after=bench.rules[0].revalidate_after * 100)
    signature = Tag(f"sha256-{'a' * 64}.sig")
    bench.web.put(image(), signature, "latest")
    for tag in (signature, LATEST):
        await bench.manifests.get(bench.resolve(), tag)
    bench.clock.advance(301)
    for tag in (signature, LATEST):
        await bench.manifests.get(bench.resolve(), tag)
    assert journal(bench) == [f"GET {signature}", "GET latest", f"HEAD {signature}"]


async def test_tag_is_not_served_when_its_rule_leads_elsewhere(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.with_rule(upstream_prefix="mirror")
    bench.upstream.repository("quay.io/mirror/app/web").put(OTHER, "latest")
    assert (await bench.manifests.get(bench.resolve(), LATEST)).raw == OTHER


async def test_repositories_of_a_deleted_rule_are_served_and_never_refreshed(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.rules = ()
    bench.clock.advance(10_000_000)
    resolution = bench.resolve()
    assert resolution.remote is None
    assert (await bench.manifests.get(resolution, LATEST)).raw == image()
    assert (await bench.manifests.get(resolution, digest)).raw == image()
    assert journal(bench) == ["GET latest"]


@pytest.mark.parametrize("method", ["get", "head"])
async def test_hosted_content_that_is_not_there_is_unknown(bench: Bench, method: str) -> None:
    resolution = bench.resolve("team/app")
    with pytest.raises(ProxyError) as by_tag:
        await getattr(bench.manifests, method)(resolution, LATEST)
    with pytest.raises(ProxyError) as by_digest:
        await getattr(bench.manifests, method)(resolution, Digest.of(b"x"))
    assert by_tag.value.code is ErrorCode.NAME_UNKNOWN
    assert by_digest.value.code is ErrorCode.MANIFEST_UNKNOWN
    assert bench.upstream.requests == []


async def test_lost_and_spoilt_files_of_manifests_are_fetched_again(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    for spoil in (None, b"spoilt"):
        await bench.store.delete(digest)
        if spoil is not None:
            bench.store.keep(digest, spoil)
        bench.start()
        assert (await bench.manifests.get(bench.resolve(), LATEST)).raw == image()
        reader = await bench.store.open(digest)
        assert reader is not None
        assert await reader.read(0, 10_000) == image()
        reader.close()
    assert journal(bench) == ["GET latest", f"GET {digest}", f"GET {digest}"]


async def test_stale_tag_whose_file_is_lost_is_fetched_again_and_still_called_stale(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    await bench.store.delete(digest)
    bench.start()
    del bench.web.tags["latest"]
    answer = await bench.manifests.refresh(bench.resolve(), LATEST)
    assert (answer.raw, answer.status.stale) == (image(), "not_found")
    assert answer.warning is not None


class FirstWins(MemoryBlobStore):
    """A store that takes what is stored already for what is committed again."""

    def keep(self, digest: Digest, blob: bytes) -> None:
        if digest not in self._blobs:
            super().keep(digest, blob)


async def test_file_that_was_cut_short_is_replaced(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    bench.store = FirstWins()
    bench.store.keep(digest, image()[:10])
    bench.begin()
    await bench.manifests.get(bench.resolve(), LATEST)
    assert await bench.store.stat(digest) == len(image())


async def test_lost_file_of_a_hosted_manifest_is_unknown(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.rules = ()
    await bench.store.delete(digest)
    bench.start()
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN


async def test_full_store_passes_manifests_through(bench: Bench) -> None:
    bench.store.capacity = 10
    bench.web.put(image(), "latest")
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.raw, answer.status.outcome) == (image(), "bypass")
    by_digest = await bench.manifests.get(bench.resolve(), Digest.of(image()))
    assert (by_digest.raw, by_digest.status.outcome) == (image(), "bypass")
    assert await bench.metadata.tag(bench.resolve().repository, LATEST) is None


async def test_check_that_cannot_be_written_down_does_not_fail_the_pull(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.metadata.full = True
    assert (await bench.manifests.get(bench.resolve(), LATEST)).status.outcome == "revalidated"


async def test_manifest_whose_metadata_cannot_be_written_is_passed_through(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    bench.metadata.full = True
    assert (await bench.manifests.get(bench.resolve(), LATEST)).status.outcome == "bypass"


@pytest.mark.parametrize("raw", [b"<html>", b"[" * 100_000, image(manifests=[]), image(mediaType=OCI_INDEX)])
async def test_invalid_manifest_of_an_upstream_is_garbage_and_nothing_is_kept(bench: Bench, raw: bytes) -> None:
    digest = bench.web.put(raw, "latest")
    for reference in (LATEST, digest):
        with pytest.raises(ProxyError) as raised:
            await bench.manifests.get(bench.resolve(), reference)
        assert raised.value.code is ErrorCode.UPSTREAM_INVALID
    assert await bench.store.stat(digest) is None


async def test_other_bytes_than_those_of_the_digest_are_garbage_and_nothing_is_kept(bench: Bench) -> None:
    digest = bench.web.put(image())
    bench.web.manifests[digest] = FetchedManifest(OTHER, OCI_MANIFEST, Digest.of(OTHER))
    for method in (bench.manifests.get, bench.manifests.head):
        with pytest.raises(ProxyError) as raised:
            await method(bench.resolve(), digest)
        assert raised.value.code is ErrorCode.UPSTREAM_INVALID
    assert await bench.store.stat(digest) is None
    assert await bench.store.stat(Digest.of(OTHER)) is None
    failures = bench.metrics.registry.get_sample_value("pullthrough_verify_failures_total", {"rule": "quay"})
    assert failures == 2


async def test_manifest_without_a_type_is_garbage(bench: Bench) -> None:
    bench.web.put(image(), "latest", media_type="")
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert raised.value.code is ErrorCode.UPSTREAM_INVALID


async def test_invalid_manifest_does_not_replace_a_kept_one(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.web.put(b"<html>captive portal</html>", "latest")
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.raw, answer.status.stale) == (image(), "garbage")


async def test_artifact_of_an_unknown_type_is_kept_verbatim(bench: Bench) -> None:
    bench.web.put(b'{ "whatever": [1] }', "latest", media_type="application/vnd.example+json")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.raw, answer.media_type) == (b'{ "whatever": [1] }', "application/vnd.example+json")


async def test_purged_tag_is_fetched_anew(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    assert await bench.manifests.purge(bench.resolve(), LATEST)
    assert not await bench.manifests.purge(bench.resolve(), LATEST)
    await bench.manifests.get(bench.resolve(), LATEST)
    assert journal(bench) == ["GET latest", "GET latest"]


async def test_purge_forgets_what_an_upstream_said_about_a_tag(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.head(bench.resolve(), LATEST)
    await bench.manifests.purge(bench.resolve(), None)
    await bench.manifests.head(bench.resolve(), LATEST)
    assert journal(bench) == ["HEAD latest", "HEAD latest"]


async def test_purged_repository_and_manifest_are_gone(bench: Bench) -> None:
    digest = bench.web.put(image(), "latest")
    for reference in (digest, None):
        await bench.manifests.get(bench.resolve(), LATEST)
        assert await bench.manifests.purge(bench.resolve(), reference)
        assert await bench.metadata.tag(bench.resolve().repository, LATEST) is None
        assert await bench.metadata.manifest(bench.resolve().repository, digest, None) is None


async def test_hosted_content_is_not_purged(bench: Bench) -> None:
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.purge(bench.resolve("team/app"), None)
    assert raised.value.code is ErrorCode.UNSUPPORTED


async def test_manifest_of_a_private_repository_is_not_served_by_digest_elsewhere(bench: Bench) -> None:
    private = bench.with_rule(credentials=ACCOUNT, ns=True)
    bench.rules = (private, CacheRule("open", private.upstream))
    bench.web.accounts = frozenset({ACCOUNT.identity})
    digest = bench.web.put(image(), "latest")
    assert (await bench.manifests.get(bench.resolve(), digest)).raw == image()
    for reference in (digest, LATEST):
        for method in (bench.manifests.get, bench.manifests.head):
            with pytest.raises(ProxyError) as raised:
                await method(bench.resolve("open/app/web"), reference)
            assert raised.value.code is ErrorCode.NAME_UNKNOWN


async def test_unknown_tag_of_a_hosted_repository_is_an_unknown_manifest(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.rules = ()
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(bench.resolve(), Tag("other"))
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN


async def test_refresh_of_a_digest_has_nothing_to_check(bench: Bench) -> None:
    digest = bench.web.put(image())
    for _ in range(2):
        assert (await bench.manifests.refresh(bench.resolve(), digest)).raw == image()
    assert journal(bench) == [f"GET {digest}"]


async def test_unreadable_file_of_a_manifest_is_fetched_again(bench: Bench) -> None:
    class Unreadable(MemoryBlobStore):
        async def open(self, digest: Digest) -> BlobReader | None:
            raise OSError(f"input/output error under {digest}")

    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.store = Unreadable()
    bench.begin()
    assert (await bench.manifests.get(bench.resolve(), LATEST)).raw == image()


async def test_a_tag_is_not_checked_while_pulls_are_scarce(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.web.put(OTHER, "latest")
    bench.clock.advance(301)
    bench.upstream.thrift = "budget"
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.raw, answer.status.outcome, answer.status.detail) == (image(), "hit", "budget")
    assert answer.warning is not None
    assert "last checked" in answer.warning
    assert journal(bench) == ["GET latest"]
    refreshed = await bench.manifests.refresh(bench.resolve(), LATEST)  # asked for: the upstream is asked
    assert refreshed.raw == OTHER


async def test_scarce_pulls_are_for_what_is_not_kept(bench: Bench) -> None:
    bench.upstream.thrift = "budget"
    bench.web.put(image(), "latest")
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.status.outcome, answer.status.detail) == ("miss", None)
    bench.upstream.thrift = None
    bench.clock.advance(301)
    assert (await bench.manifests.get(bench.resolve(), LATEST)).status.outcome == "revalidated"


async def test_after_the_last_pull_the_kept_is_stale_and_the_rest_is_refused_from_memory(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.upstream.fail(UpstreamFailure.RATE_LIMITED, retry_after=60)
    stale = await bench.manifests.get(bench.resolve(), LATEST)
    assert (stale.raw, stale.status.stale) == (image(), "rate_limited")
    asked = len(bench.upstream.requests)
    for _ in range(5):
        with pytest.raises(ProxyError) as caught:
            await bench.manifests.get(bench.resolve(), Tag("never-seen"))
        assert caught.value.code is ErrorCode.TOOMANYREQUESTS
        assert caught.value.headers == {"Retry-After": "60"}
    assert len(bench.upstream.requests) == asked


async def test_our_own_pace_is_told_as_429_with_the_time_to_wait(bench: Bench) -> None:
    bench.upstream.fail(UpstreamFailure.OVERLOADED, retry_after=31.5)
    with pytest.raises(ProxyError) as caught:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert caught.value.code is ErrorCode.TOOMANYREQUESTS
    assert caught.value.headers == {"Retry-After": "32"}
