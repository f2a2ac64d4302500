"""Lists of tags, referrers and repositories: merged, kept, and never empty because something failed."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from proxy.core.listings import Referrers
from proxy.core.ports import ManifestRecord, TagRecord, TagWrite
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.manifest import parse_manifest
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.pages import DOCUMENT_LIMIT, PAGE_LIMIT, REFERRERS_LIMIT, Page
from proxy.model.reference import RepositoryName, Tag, referrers_tag
from proxy.model.rule import UPLOADED
from tests.support.documents import descriptor, image, index
from tests.support.filling_metadata import FillingMetadata
from tests.unit.core.conftest import Bench

SUBJECT = Digest.of(image())
SIGNATURE = Descriptor(OCI_MANIFEST, Digest.of(b"signature"), 9, "application/x.sig", {"made": "by hand"})
SBOM = Descriptor(OCI_MANIFEST, Digest.of(b"sbom"), 4, "application/x.sbom")

EVERYTHING = Page()
HOSTED = "team/app"

_OTHERS = {UpstreamFailure.NOT_FOUND, UpstreamFailure.UNSUPPORTED, UpstreamFailure.NOT_PERMITTED}
FAILURES = sorted(set(UpstreamFailure) - _OTHERS)


class WatchedMetadata(FillingMetadata):
    """Metadata that notes how much of which lists is read: (greater than what, how many)."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[str, int]] = []

    async def tags(
        self, repository: RepositoryName, sources: Sequence[str] | None, after: str, limit: int
    ) -> list[Tag]:
        self.read.append((after, limit))
        return await super().tags(repository, sources, after, limit)

    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[ManifestRecord]:
        self.read.append((after, limit))
        return await super().referrers(repository, subject, artifact_type, after, limit)


def watched(bench: Bench) -> WatchedMetadata:
    bench.metadata = metadata = WatchedMetadata()
    bench.start()
    return metadata


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


async def referrers(
    bench: Bench, artifact_type: str | None = None, page: Page = EVERYTHING, name: str = "quay/app/web"
) -> Referrers:
    return await bench.listings.referrers(bench.resolve(name), SUBJECT, artifact_type, page)


async def pages(bench: Bench, n: int | None = None, kind: str | None = None, name: str = HOSTED) -> list[list[str]]:
    """Return the digests of each page of referrers, by asking for the next as long as there is one."""
    found = [await referrers(bench, kind, Page(n), name)]
    while found[-1].last is not None:
        found.append(await referrers(bench, kind, Page(n, str(found[-1].last)), name))
    return [digests(one) for one in found]


async def hold(bench: Bench, *records: ManifestRecord, name: str = HOSTED, tag: str | None = None) -> list[str]:
    """Keep manifests as pushed ones; return their digests in the order of lists."""
    repository = bench.resolve(name).repository
    for record in records:
        tags = (TagRecord(Tag(tag), record.digest, record.media_type, UPLOADED, 0.0, 0.0),) if tag else ()
        await bench.metadata.remember(repository, record, [], provenance=None, tags=TagWrite(tags))
    return sorted(str(record.digest) for record in records)


def referrer(number: int, kind: str = "application/x.sig", **annotations: str) -> ManifestRecord:
    digest = Digest.of(b"referrer %d" % number)
    return ManifestRecord(digest, OCI_MANIFEST, 9, kind, SUBJECT, tuple(annotations.items()))


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
    bench.with_character(ecr=True)
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


async def tag_all(bench: Bench, names: Sequence[str], name: str = HOSTED) -> None:
    records = [TagRecord(Tag(each), SUBJECT, OCI_MANIFEST, UPLOADED, 0.0, 0.0) for each in names]
    manifest = ManifestRecord(SUBJECT, OCI_MANIFEST, len(image()))
    repository = bench.resolve(name).repository
    await bench.metadata.remember(repository, manifest, [], provenance=None, tags=TagWrite(tuple(records)))


async def test_tags_without_n_come_in_pages_of_the_largest_size(bench: Bench) -> None:
    names = [f"v{number:05}" for number in range(PAGE_LIMIT + 1)]
    await tag_all(bench, names)
    assert await tags(bench, name=HOSTED) == (names[:-1], True)
    assert await tags(bench, last=names[-2], name=HOSTED) == (names[-1:], False)
    assert await tags(bench, PAGE_LIMIT, names[0], HOSTED) == (names[1:], False)
    for name in names:
        bench.web.put(b"{}", name)
    assert await tags(bench) == (names[:-1], True)


async def test_page_of_tags_is_all_that_is_read_of_those_that_are_kept(bench: Bench) -> None:
    metadata = watched(bench)
    await tag_all(bench, [f"v{number:02}" for number in range(50)])
    assert await tags(bench, 2, "v07", HOSTED) == (["v08", "v09"], True)
    assert metadata.read == [("v07", 3)]


async def test_pushed_tags_are_merged_with_those_of_the_upstream_page_by_page(bench: Bench) -> None:
    bench.with_rule(push=True)
    bench.web.put(image(), "a", "c", "e")
    await tag_all(bench, ["b", "c", "d"], "quay/app/web")
    assert await tags(bench, 2) == (["a", "b"], True)
    assert await tags(bench, 2, "b") == (["c", "d"], True)
    assert await tags(bench, 2, "d") == (["e"], False)
    assert await tags(bench) == (["a", "b", "c", "d", "e"], False)
    bench.with_rule(push=False)
    assert await tags(bench) == (["a", "c", "e"], False)


@pytest.mark.parametrize("failure", [UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED])
async def test_pushed_tags_are_the_list_where_the_upstream_has_no_such_repository(
    bench: Bench, failure: UpstreamFailure
) -> None:
    bench.with_rule(push=True)
    bench.upstream.fail(failure)
    assert await error_of_tags(bench) is ErrorCode.NAME_UNKNOWN
    await tag_all(bench, ["a", "b"], "quay/app/web")
    assert await tags(bench) == (["a", "b"], False)
    assert await tags(bench, 1) == (["a"], True)
    assert await tags(bench, 1, "b") == ([], False)
    bench.with_rule(push=False)
    assert await error_of_tags(bench) is ErrorCode.NAME_UNKNOWN


async def test_pushed_tags_do_not_pass_for_the_list_of_an_upstream_that_failed(bench: Bench) -> None:
    bench.with_rule(push=True)
    await tag_all(bench, ["a"], "quay/app/web")
    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert await error_of_tags(bench) is ErrorCode.UPSTREAM_UNAVAILABLE


async def test_offline_page_after_all_kept_tags_is_empty(bench: Bench) -> None:
    bench.web.put(image(), "a")
    await bench.manifests.get(bench.resolve(), Tag("a"))
    bench.with_rule(offline=True)
    assert await tags(bench, 5, "a") == ([], False)


# --- referrers ------------------------------------------------------------------------------------------------------


async def test_referrers_come_from_the_api_and_are_kept(bench: Bench) -> None:
    bench.web.referrers = {SUBJECT: [SIGNATURE, SBOM]}
    first = await referrers(bench)
    second = await referrers(bench)
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
    found = await referrers(bench, "application/x.sbom")
    none = await referrers(bench, "application/x.other")
    assert (digests(found), found.filtered) == ([str(SBOM.digest)], True)
    assert (digests(none), none.filtered) == ([], True)


async def test_fallback_tag_lists_referrers_where_there_is_no_api(bench: Bench) -> None:
    entry = descriptor(b"signature", OCI_MANIFEST, artifactType="application/x.sig")
    bench.web.put(index(manifests=[entry]), referrers_tag(SUBJECT), media_type=OCI_INDEX)
    found = await referrers(bench, "application/x.sig")
    assert digests(found) == [str(SIGNATURE.digest)]
    assert [(request.method, request.subject) for request in bench.upstream.requests] == [
        ("referrers", str(SUBJECT)),
        ("GET", f"sha256-{SUBJECT.encoded}"),
    ]


async def test_no_api_and_no_fallback_tag_is_an_empty_list(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    assert digests(await referrers(bench)) == []
    assert methods(bench) == ["referrers", "GET"]


async def test_fallback_tag_that_is_no_index_is_an_error(bench: Bench) -> None:
    bench.web.put(image(), referrers_tag(SUBJECT))
    with pytest.raises(ProxyError) as raised:
        await referrers(bench)
    assert raised.value.code is ErrorCode.UPSTREAM_INVALID


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("method", ["referrers", "GET"])
async def test_failure_is_never_an_empty_list_of_referrers(bench: Bench, failure: UpstreamFailure, method: str) -> None:
    bench.upstream.repository("quay.io/app/web")
    bench.upstream.fail(failure, method)
    with pytest.raises(ProxyError):
        await referrers(bench)


@pytest.mark.parametrize("failure", FAILURES)
async def test_last_known_referrers_bridge_a_failure(bench: Bench, failure: UpstreamFailure) -> None:
    bench.web.referrers = {SUBJECT: [SIGNATURE]}
    await referrers(bench)
    bench.clock.advance(301)
    bench.upstream.fail(failure)
    found = await referrers(bench)
    assert (digests(found), found.status.stale) == ([str(SIGNATURE.digest)], failure.value)


async def test_kept_referrers_are_merged_with_the_list(bench: Bench) -> None:
    signature = image(b"sig", subject=descriptor(image(), OCI_MANIFEST), artifactType="application/x.sig")
    digest = bench.web.put(signature)
    bench.web.referrers = {SUBJECT: [SBOM]}
    await bench.manifests.get(bench.resolve(), digest)
    found = await referrers(bench)
    assert digests(found) == sorted([str(SBOM.digest), str(digest)])
    assert {one["digest"]: one["artifactType"] for one in entries(found)}[str(digest)] == "application/x.sig"


async def test_offline_rule_lists_kept_referrers_and_never_nothing(bench: Bench) -> None:
    signature = image(b"sig", subject=descriptor(image(), OCI_MANIFEST))
    digest = bench.web.put(signature)
    bench.with_rule(offline=True)
    with pytest.raises(ProxyError) as raised:
        await referrers(bench)
    assert raised.value.code.status == 404
    bench.with_rule(offline=False)
    await bench.manifests.get(bench.resolve(), digest)
    bench.with_rule(offline=True)
    assert digests(await referrers(bench)) == [str(digest)]


async def test_referrers_from_where_the_rule_led_before_are_not_listed(bench: Bench) -> None:
    digest = bench.web.put(image(b"sig", subject=descriptor(image(), OCI_MANIFEST)))
    await bench.manifests.get(bench.resolve(), digest)
    bench.with_rule(upstream_prefix="mirror")
    bench.upstream.repository("quay.io/mirror/app/web").referrers = {}
    assert digests(await referrers(bench)) == []


async def test_hosted_repository_lists_its_referrers_and_an_unknown_subject_has_none(bench: Bench) -> None:
    digest = bench.web.put(image(b"sig", subject=descriptor(image(), OCI_MANIFEST)))
    await bench.manifests.get(bench.resolve(), digest)
    bench.rules = ()
    assert digests(await referrers(bench)) == [str(digest)]
    assert digests(await referrers(bench, name="team/app")) == []


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, None])
async def test_pages_of_referrers_follow_each_other_in_order_of_digest(bench: Bench, n: int | None) -> None:
    expected = await hold(bench, *map(referrer, range(5)))
    found = await pages(bench, n)
    assert [digest for page in found for digest in page] == expected
    assert all(len(page) == n for page in found[:-1])
    assert found[-1]


async def test_last_referrer_need_not_exist(bench: Bench) -> None:
    expected = await hold(bench, *map(referrer, range(5)))
    for last in ("", "sha256:", expected[2], f"{expected[2]}0", expected[-1], "sha512:", "zzz"):
        assert digests(await referrers(bench, None, Page(None, last), HOSTED)) == [
            each for each in expected if each > last
        ]


async def test_page_of_no_referrers_is_empty_and_leads_nowhere(bench: Bench) -> None:
    await hold(bench, *map(referrer, range(2)))
    found = await referrers(bench, None, Page(0), HOSTED)
    assert (digests(found), found.last) == ([], None)


@pytest.mark.parametrize("name", [HOSTED, "quay/app/web"])
async def test_pages_of_one_type_leave_out_all_others(bench: Bench, name: str) -> None:
    bench.web.referrers = {SUBJECT: [SBOM]}
    sigs = await hold(bench, *map(referrer, range(40)), name=name)
    boms = await hold(bench, *(referrer(number, "application/x.sbom") for number in range(40, 90)), name=name)
    if name != HOSTED:
        boms = sorted([*boms, str(SBOM.digest)])
    assert [digest for page in await pages(bench, 7, "application/x.sbom", name) for digest in page] == boms
    assert await pages(bench, None, "application/x.sig", name) == [sigs]
    assert await pages(bench, 7, "application/x.none", name) == [[]]


async def test_page_of_referrers_is_bounded_whatever_is_asked_for(bench: Bench) -> None:
    expected = await hold(bench, *map(referrer, range(REFERRERS_LIMIT + 1)))
    for n in (None, PAGE_LIMIT, REFERRERS_LIMIT):
        assert await pages(bench, n) == [expected[:-1], expected[-1:]]


async def test_page_of_referrers_ends_where_its_document_would_be_too_long(bench: Bench) -> None:
    large = "x" * (1 << 20)
    expected = await hold(bench, *(referrer(number, note=large) for number in range(5)))
    found = await referrers(bench, name=HOSTED)
    assert len(found.document) <= DOCUMENT_LIMIT
    assert await pages(bench) == [expected[:2], expected[2:4], expected[4:]]


async def test_referrer_that_is_longer_than_a_page_has_one_for_itself(bench: Bench) -> None:
    large = "x" * (DOCUMENT_LIMIT + 1)
    expected = await hold(bench, *(referrer(number, note=large) for number in range(3)))
    assert await pages(bench) == [[digest] for digest in expected]
    assert entries(await referrers(bench, name=HOSTED))[0]["annotations"] == {"note": large}


async def test_few_referrers_are_read_at_a_time(bench: Bench) -> None:
    metadata = watched(bench)
    expected = await hold(bench, *map(referrer, range(100)))
    await referrers(bench, None, Page(3, expected[5]), HOSTED)
    assert metadata.read == [(expected[5], 4)]
    await referrers(bench, None, Page(90), HOSTED)
    assert metadata.read[1:] == [("", 32), (expected[31], 32), (expected[63], 32)]


async def test_pushed_referrers_are_merged_with_those_of_the_upstream(bench: Bench) -> None:
    bench.with_rule(push=True)
    bench.web.referrers = {SUBJECT: [SIGNATURE, SBOM]}
    pushed = await hold(bench, *map(referrer, range(50)), name="quay/app/web")
    expected = sorted([*pushed, str(SIGNATURE.digest), str(SBOM.digest)])
    for n in (1, 4, 51, 52, None):
        assert [digest for page in await pages(bench, n, name="quay/app/web") for digest in page] == expected
    assert methods(bench) == ["referrers"]


async def test_what_is_held_describes_a_referrer_better_than_a_list_does(bench: Bench) -> None:
    held = referrer(1, note="whole")
    bench.web.referrers = {SUBJECT: [Descriptor(OCI_MANIFEST, held.digest, 9)]}
    await hold(bench, held, name="quay/app/web")
    [entry] = entries(await referrers(bench, held.artifact_type))
    assert (entry["artifactType"], entry["annotations"]) == (held.artifact_type, {"note": "whole"})


async def test_index_that_refers_has_only_a_type_of_its_own(bench: Bench) -> None:
    parsed = parse_manifest(index(image(), subject=descriptor(image(), OCI_MANIFEST)), OCI_INDEX)
    await hold(bench, ManifestRecord(Digest.of(b"set"), OCI_INDEX, 9, parsed.artifact_type, SUBJECT))
    [entry] = entries(await referrers(bench, name=HOSTED))
    assert (entry["mediaType"], "artifactType" in entry) == (OCI_INDEX, False)


@pytest.mark.parametrize("name", [HOSTED, "quay/app/web"])
async def test_deleted_referrers_vanish(bench: Bench, name: str) -> None:
    bench.with_rule(push=True)
    bench.web.referrers = {}
    expected = await hold(bench, *map(referrer, range(3)), name=name)
    await bench.metadata.delete_manifest(bench.resolve(name).repository, Digest.parse(expected[1]))
    assert await pages(bench, name=name) == [[expected[0], expected[2]]]


@pytest.mark.parametrize("failure", [UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED])
async def test_pushed_referrers_are_the_list_where_the_upstream_has_no_such_repository(
    bench: Bench, failure: UpstreamFailure
) -> None:
    bench.with_rule(push=True)
    bench.upstream.fail(failure)
    expected = await hold(bench, referrer(1), name="quay/app/web", tag="signed")
    assert await pages(bench, name="quay/app/web") == [expected]


async def test_listed_referrers_that_no_document_could_name_are_left_out(bench: Bench) -> None:
    bad = [
        Descriptor(OCI_MANIFEST, Digest.of(b"negative"), -1),
        Descriptor(OCI_MANIFEST, Digest.of(b"huge"), 1 << 70),
        Descriptor("x" * 256, Digest.of(b"long"), 1),
        Descriptor(OCI_MANIFEST, Digest.of(b"strange"), 1, "a\r\nb"),
    ]
    bench.web.referrers = {SUBJECT: [*bad, SBOM, *bad]}
    assert digests(await referrers(bench)) == [str(SBOM.digest)]
    assert digests(await referrers(bench)) == [str(SBOM.digest)]


async def test_list_of_an_upstream_may_be_longer_than_a_manifest(bench: Bench) -> None:
    note = {"note": "x" * 1000}
    listed = [Descriptor(OCI_MANIFEST, Digest.of(b"%d" % number), 9, None, note) for number in range(10_001)]
    bench.web.referrers = {SUBJECT: listed}
    found = await referrers(bench)
    assert digests(found) == sorted(str(one.digest) for one in listed)[:REFERRERS_LIMIT]
    assert found.last is not None


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
