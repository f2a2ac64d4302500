"""Lists of tags, referrers and repositories: merged, kept, and never empty because something failed."""

import json
from datetime import timedelta
from typing import Any

import pytest

from proxy.core.listings import Referrers
from proxy.core.ports import ManifestRecord, TagRecord
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import Tag, referrers_tag
from tests.support.documents import descriptor, image, index
from tests.unit.core.conftest import Bench

SUBJECT = Digest.of(image())
SIGNATURE = Descriptor(OCI_MANIFEST, Digest.of(b"signature"), 9, "application/x.sig", {"made": "by hand"})
SBOM = Descriptor(OCI_MANIFEST, Digest.of(b"sbom"), 4, "application/x.sbom")

FAILURES = sorted(set(UpstreamFailure) - {UpstreamFailure.NOT_FOUND, UpstreamFailure.UNSUPPORTED})


def methods(bench: Bench) -> list[str]:
    return [request.method for request in bench.upstream.requests]


async def tags(
    bench: Bench, n: int | None = None, last: str = "", name: str = "quay/app/web"
) -> tuple[list[str], bool]:
    page = await bench.listings.tags(bench.resolve(name), n, last)
    return page.tags, page.more


async def error_of_tags(bench: Bench, name: str = "quay/app/web") -> ErrorCode:
    with pytest.raises(ProxyError) as raised:
        await bench.listings.tags(bench.resolve(name), None, "")
    return raised.value.code


def entries(found: Referrers) -> list[dict[str, Any]]:
    document = json.loads(found.document)
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    manifests: list[dict[str, Any]] = document["manifests"]
    return manifests


def digests(found: Referrers) -> list[str]:
    return [entry["digest"] for entry in entries(found)]


# --- tags -----------------------------------------------------------------------------------------------------------


async def test_tags_are_those_of_the_upstream_and_those_that_are_kept_in_byte_order(bench: Bench) -> None:
    bench.web.put(image(), "a", "Z", "1", "_")
    await bench.manifests.get(bench.resolve(), Tag("Z"))
    del bench.web.tags["Z"]
    assert await tags(bench) == (["1", "Z", "_", "a"], False)


async def test_pages_of_tags_follow_each_other(bench: Bench) -> None:
    bench.web.put(image(), *"abcde")
    assert await tags(bench, 2) == (["a", "b"], True)
    assert await tags(bench, 2, "b") == (["c", "d"], True)
    assert await tags(bench, 2, "d") == (["e"], False)
    assert await tags(bench, 2, "c") == (["d", "e"], False)
    assert await tags(bench, 2, "bb") == (["c", "d"], True)  # last need not exist
    assert await tags(bench, 2, "e") == ([], False)
    assert await tags(bench, 0) == ([], False)
    assert methods(bench) == ["tags"]


async def test_a_list_that_is_known_is_checked_with_one_attempt(bench: Bench) -> None:
    bench.web.put(image(), "a")
    await tags(bench)
    bench.clock.advance(301)
    await tags(bench)
    assert [request.retry for request in bench.upstream.requests] == [True, False]


async def test_tag_list_is_kept_for_its_ttl(bench: Bench) -> None:
    bench.web.put(image(), "a")
    await tags(bench)
    bench.web.put(image(), "b")
    bench.start()
    bench.clock.advance(299)
    assert await tags(bench) == (["a"], False)
    bench.clock.advance(2)
    assert await tags(bench) == (["a", "b"], False)
    assert methods(bench) == ["tags", "tags"]


@pytest.mark.parametrize("failure", sorted({*FAILURES, UpstreamFailure.NOT_FOUND} - {UpstreamFailure.OFFLINE}))
async def test_known_tag_list_bridges_a_failure_and_an_unknown_one_is_an_error(
    bench: Bench, failure: UpstreamFailure
) -> None:
    bench.web.put(image(), "a")
    bench.upstream.fail(failure)
    assert (await error_of_tags(bench)).status >= 400
    bench.upstream.recover()
    bench.clock.advance(61)
    await tags(bench)
    bench.clock.advance(301)
    bench.upstream.fail(failure)
    page = await bench.listings.tags(bench.resolve(), None, "")
    assert (page.tags, page.status.stale) == (["a"], failure.value)
    asked = len(bench.upstream.requests)
    bench.clock.advance(59)
    assert await tags(bench) == (["a"], False)
    assert len(bench.upstream.requests) == asked


async def test_kept_tags_do_not_pass_for_the_list_of_an_upstream_that_failed(bench: Bench) -> None:
    bench.web.put(image(), "a", "b")
    await bench.manifests.get(bench.resolve(), Tag("a"))
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert await error_of_tags(bench) is ErrorCode.UPSTREAM_UNAVAILABLE


async def test_offline_rule_lists_what_is_kept(bench: Bench) -> None:
    bench.web.put(image(), "a", "b")
    await bench.manifests.get(bench.resolve(), Tag("a"))
    bench.with_rule(offline=True)
    assert await tags(bench) == (["a"], False)
    assert await error_of_tags(bench, "quay/app/other") is ErrorCode.NAME_UNKNOWN
    assert methods(bench) == ["GET"]


async def test_slow_tag_list_is_served_stale_and_refreshed_behind(bench: Bench) -> None:
    bench.with_rule(stale_after=timedelta(0))
    bench.web.put(image(), "a")
    await tags(bench)
    bench.web.put(image(), "b")
    bench.clock.advance(301)
    assert await tags(bench) == (["a"], False)
    await bench.tasks.drain(5)
    assert await tags(bench) == (["a", "b"], False)


async def test_tags_outside_the_grammar_are_not_listed(bench: Bench) -> None:
    bench.web.put(image(), "good", "../../evil", "-bad", "")
    assert await tags(bench) == (["good"], False)


async def test_list_that_cannot_be_kept_is_served(bench: Bench) -> None:
    bench.web.put(image(), "a")
    bench.metadata.full = True
    assert await tags(bench) == (["a"], False)


async def test_with_the_character_of_ecr_only_kept_tags_are_listed(bench: Bench) -> None:
    bench.with_policy(ecr=True)
    assert await error_of_tags(bench) is ErrorCode.NAME_UNKNOWN
    bench.web.put(image(), "a", "b", "c")
    for tag in ("a", "c"):
        await bench.manifests.get(bench.resolve(), Tag(tag))
    assert await tags(bench) == (["a", "c"], False)
    assert await tags(bench, 1) == (["a"], True)
    assert await tags(bench, 0) == ([], False)
    assert methods(bench) == ["GET", "GET"]


async def test_tags_from_where_the_rule_led_before_are_not_listed(bench: Bench) -> None:
    bench.web.put(image(), "old")
    await bench.manifests.get(bench.resolve(), Tag("old"))
    bench.with_rule(upstream_prefix="mirror")
    bench.upstream.repository("quay.io/mirror/app/web").put(image(), "new")
    assert await tags(bench) == (["new"], False)


async def test_hosted_repository_lists_its_tags_and_an_unknown_one_is_unknown(bench: Bench) -> None:
    bench.web.put(image(), "a", "b")
    for tag in ("a", "b"):
        await bench.manifests.get(bench.resolve(), Tag(tag))
    bench.rules = ()
    assert await tags(bench, 1) == (["a"], True)
    assert await tags(bench) == (["a", "b"], False)
    assert await error_of_tags(bench, "team/app") is ErrorCode.NAME_UNKNOWN


# --- referrers ------------------------------------------------------------------------------------------------------


async def test_referrers_come_from_the_api_and_are_kept(bench: Bench) -> None:
    bench.web.referrers = {SUBJECT: [SIGNATURE, SBOM]}
    first = await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    second = await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    assert entries(first) == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": str(SIGNATURE.digest),
            "size": 9,
            "artifactType": "application/x.sig",
            "annotations": {"made": "by hand"},
        },
        {"mediaType": OCI_MANIFEST, "digest": str(SBOM.digest), "size": 4, "artifactType": "application/x.sbom"},
    ]
    assert not first.filtered
    assert (first.status.outcome, second.status.outcome) == ("miss", "hit")
    assert methods(bench) == ["referrers"]


async def test_referrers_are_filtered_here(bench: Bench) -> None:
    bench.web.referrers = {SUBJECT: [SIGNATURE, SBOM]}
    found = await bench.listings.referrers(bench.resolve(), SUBJECT, "application/x.sbom")
    none = await bench.listings.referrers(bench.resolve(), SUBJECT, "application/x.other")
    assert (digests(found), found.filtered) == ([str(SBOM.digest)], True)
    assert (digests(none), none.filtered) == ([], True)


async def test_fallback_tag_lists_referrers_where_there_is_no_api(bench: Bench) -> None:
    entry = descriptor(b"signature", OCI_MANIFEST, artifactType="application/x.sig")
    bench.web.put(index(manifests=[entry]), referrers_tag(SUBJECT), media_type=OCI_INDEX)
    found = await bench.listings.referrers(bench.resolve(), SUBJECT, "application/x.sig")
    assert digests(found) == [str(SIGNATURE.digest)]
    assert [(request.method, request.subject) for request in bench.upstream.requests] == [
        ("referrers", str(SUBJECT)),
        ("GET", f"sha256-{SUBJECT.encoded}"),
    ]


async def test_no_api_and_no_fallback_tag_is_an_empty_list(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    assert digests(await bench.listings.referrers(bench.resolve(), SUBJECT, None)) == []
    assert methods(bench) == ["referrers", "GET"]


async def test_fallback_tag_that_is_no_index_is_an_error(bench: Bench) -> None:
    bench.web.put(image(), referrers_tag(SUBJECT))
    with pytest.raises(ProxyError) as raised:
        await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    assert raised.value.code is ErrorCode.UPSTREAM_INVALID


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("method", ["referrers", "GET"])
async def test_failure_is_never_an_empty_list_of_referrers(bench: Bench, failure: UpstreamFailure, method: str) -> None:
    bench.upstream.repository("quay.io/app/web")
    bench.upstream.fail(failure, method)
    with pytest.raises(ProxyError):
        await bench.listings.referrers(bench.resolve(), SUBJECT, None)


@pytest.mark.parametrize("failure", FAILURES)
async def test_last_known_referrers_bridge_a_failure(bench: Bench, failure: UpstreamFailure) -> None:
    bench.web.referrers = {SUBJECT: [SIGNATURE]}
    await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    bench.clock.advance(301)
    bench.upstream.fail(failure)
    found = await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    assert (digests(found), found.status.stale) == ([str(SIGNATURE.digest)], failure.value)


async def test_kept_referrers_are_merged_with_the_list(bench: Bench) -> None:
    signature = image(b"sig", subject=descriptor(image(), OCI_MANIFEST), artifactType="application/x.sig")
    digest = bench.web.put(signature)
    bench.web.referrers = {SUBJECT: [SBOM]}
    await bench.manifests.get(bench.resolve(), digest)
    found = await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    assert digests(found) == [str(SBOM.digest), str(digest)]
    assert entries(found)[1]["artifactType"] == "application/x.sig"


async def test_offline_rule_lists_kept_referrers_and_never_nothing(bench: Bench) -> None:
    signature = image(b"sig", subject=descriptor(image(), OCI_MANIFEST))
    digest = bench.web.put(signature)
    bench.with_rule(offline=True)
    with pytest.raises(ProxyError) as raised:
        await bench.listings.referrers(bench.resolve(), SUBJECT, None)
    assert raised.value.code.status == 404
    bench.with_rule(offline=False)
    await bench.manifests.get(bench.resolve(), digest)
    bench.with_rule(offline=True)
    assert digests(await bench.listings.referrers(bench.resolve(), SUBJECT, None)) == [str(digest)]


async def test_referrers_from_where_the_rule_led_before_are_not_listed(bench: Bench) -> None:
    digest = bench.web.put(image(b"sig", subject=descriptor(image(), OCI_MANIFEST)))
    await bench.manifests.get(bench.resolve(), digest)
    bench.with_rule(upstream_prefix="mirror")
    bench.upstream.repository("quay.io/mirror/app/web").referrers = {}
    assert digests(await bench.listings.referrers(bench.resolve(), SUBJECT, None)) == []


async def test_hosted_repository_lists_its_referrers_and_an_unknown_subject_has_none(bench: Bench) -> None:
    digest = bench.web.put(image(b"sig", subject=descriptor(image(), OCI_MANIFEST)))
    await bench.manifests.get(bench.resolve(), digest)
    bench.rules = ()
    assert digests(await bench.listings.referrers(bench.resolve(), SUBJECT, None)) == [str(digest)]
    assert digests(await bench.listings.referrers(bench.resolve("team/app"), SUBJECT, None)) == []


# --- catalog --------------------------------------------------------------------------------------------------------


async def test_catalog_pages_through_what_is_kept(bench: Bench) -> None:
    for name in "abc":
        bench.upstream.repository(f"quay.io/{name}").put(image(), "latest")
        await bench.manifests.get(bench.resolve(f"quay/{name}"), Tag("latest"))
    first = await bench.listings.catalog(2, "")
    second = await bench.listings.catalog(2, first.repositories[-1])
    assert (first.repositories, first.more) == (["quay/a", "quay/b"], True)
    assert (second.repositories, second.more) == (["quay/c"], False)
    assert (await bench.listings.catalog(None, "")).repositories == ["quay/a", "quay/b", "quay/c"]
    nothing = await bench.listings.catalog(0, "")
    assert (nothing.repositories, nothing.more) == ([], False)


async def test_more_kept_tags_than_one_transaction_gives_are_all_listed(bench: Bench) -> None:
    repository = bench.resolve("team/app").repository
    manifest = ManifestRecord(SUBJECT, OCI_MANIFEST, len(image()))
    names = [f"v{number:04}" for number in range(2001)]
    for name in names:
        record = TagRecord(Tag(name), SUBJECT, OCI_MANIFEST, "", 0.0, 0.0)
        await bench.metadata.remember(repository, manifest, [], provenance=None, tag=record)
    assert await tags(bench, name="team/app") == (names, False)
    assert await tags(bench, 1500, "v0000", "team/app") == (names[1:1501], True)
