"""Freshness decisions: every combination, against the sentences of the contract."""

import itertools
from dataclasses import replace

import pytest

from proxy.core.freshness import (
    Step,
    Terms,
    Verdict,
    after_answer,
    before_asking,
    jitter,
    listing_is_due,
    terms_for_tag,
)
from proxy.core.ports import Listing, TagRecord
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import OnUpstream404

NOW = 1_700_000_000.0
TTL, RETRY = 300.0, 60.0
OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
KEPT = TagRecord(Tag("latest"), OLD, "type", "quay.io/app", fetched_at=NOW - 9999, checked_at=NOW - 1)

CHECKED = {"just now": 0.0, "in time": TTL - 1, "too long ago": TTL, "in the future": -5.0}
FAILED = {"never": None, "a moment ago": RETRY - 1, "long ago": RETRY}


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("on_404", list(OnUpstream404))
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("failed", FAILED)
@pytest.mark.parametrize("checked", CHECKED)
def test_every_request_for_a_kept_tag(
    checked: str, failed: str, *, missing: bool, on_404: OnUpstream404, offline: bool, forced: bool
) -> None:
    since = FAILED[failed]
    record = replace(
        KEPT,
        checked_at=NOW - CHECKED[checked],
        failed_at=0.0 if since is None else NOW - since,
        missing_since=NOW - 5000 if missing else 0.0,
    )
    step = before_asking(record, Terms(TTL, RETRY, on_404, offline), NOW, forced=forced)

    believed_gone = missing and on_404 is OnUpstream404.NOT_FOUND
    fresh = checked in {"just now", "in time"}
    if offline:
        assert step is not Step.CHECK, "offline makes no upstream request at all"
        assert (step is Step.GONE) == believed_gone
        assert (step is Step.SERVE) == (fresh and not believed_gone)
    elif forced:
        assert step is Step.CHECK, "a forced check asks, however fresh the tag is"
    elif fresh and not missing:
        assert step is Step.SERVE, "within revalidate_after nobody is asked"
    elif failed == "a moment ago":
        assert step is (Step.GONE if believed_gone else Step.SERVE_STALE), "a failed check is not repeated for 60 s"
    else:
        assert step is Step.CHECK


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize(("offline", "step"), [(False, Step.FETCH), (True, Step.REFUSE)])
def test_every_request_for_a_tag_that_is_not_kept(*, offline: bool, step: Step, forced: bool) -> None:
    assert before_asking(None, Terms(TTL, RETRY, offline=offline), NOW, forced=forced) is step


@pytest.mark.parametrize("may_move", [False, True])
@pytest.mark.parametrize("on_404", list(OnUpstream404))
@pytest.mark.parametrize("missing", [0.0, 3599.0, 3600.0])
@pytest.mark.parametrize("answer", [OLD, NEW, *UpstreamFailure], ids=str)
def test_every_answer_about_a_kept_tag(
    answer: Digest | UpstreamFailure, missing: float, on_404: OnUpstream404, *, may_move: bool
) -> None:
    record = replace(KEPT, missing_since=NOW - missing if missing else 0.0, failed_at=NOW - 100, outcome="timeout")
    verdict, after = after_answer(record, answer, Terms(TTL, RETRY, on_404), NOW, may_move=may_move)

    assert after is not None
    assert (after.digest, after.fetched_at, after.source) == (record.digest, record.fetched_at, record.source)
    if isinstance(answer, Digest):
        expected = Verdict.CONFIRMED if answer == OLD else Verdict.MOVED if may_move else Verdict.KEPT
        assert verdict is expected
        if verdict is not Verdict.MOVED:
            assert (after.checked_at, after.outcome, after.failed_at, after.missing_since) == (NOW, "ok", 0.0, 0.0)
        return
    assert (after.checked_at, after.outcome, after.failed_at) == (record.checked_at, answer.value, NOW)
    if answer is UpstreamFailure.NOT_FOUND:
        assert after.missing_since == (record.missing_since or NOW)
        purged = on_404 is OnUpstream404.PURGE and missing >= 3600
        gone = Verdict.GONE if on_404 is OnUpstream404.NOT_FOUND else Verdict.STALE
        assert verdict is (Verdict.PURGED if purged else gone)
    else:
        assert after.missing_since == record.missing_since
        stays_gone = bool(missing) and on_404 is OnUpstream404.NOT_FOUND
        assert verdict is (Verdict.GONE if stays_gone else Verdict.STALE)


@pytest.mark.parametrize("answer", [OLD, *UpstreamFailure], ids=str)
def test_every_answer_about_a_tag_that_is_not_kept(answer: Digest | UpstreamFailure) -> None:
    expected = Verdict.MOVED if isinstance(answer, Digest) else Verdict.FAILED
    assert after_answer(None, answer, Terms(TTL, RETRY), NOW) == (expected, None)


def test_outcomes_of_records_are_those_of_the_contract() -> None:
    for failure in UpstreamFailure:
        _, after = after_answer(KEPT, failure, Terms(TTL, RETRY), NOW)
        assert after is not None
        assert UpstreamFailure(after.outcome) is failure


@pytest.mark.parametrize(("checked", "failed"), list(itertools.product([0.0, 299.0, 300.0], [None, 59.0, 60.0])))
def test_every_kept_list(checked: float, failed: float | None) -> None:
    listing = Listing(b"[]", NOW - checked, 0.0 if failed is None else NOW - failed)
    due = checked >= TTL if failed is None else failed >= RETRY
    assert listing_is_due(listing, TTL, RETRY, NOW) is due


@pytest.mark.parametrize(
    ("tag", "ttl"),
    [
        ("latest", TTL),
        ("sha256-abc", 7.0),
        (f"sha256-{'0' * 64}.sig", 7.0),
        (f"sha512-{'0' * 64}", 7.0),
        ("sha256", TTL),
        ("v1-sha256-abc", TTL),
    ],
)
def test_tags_made_of_digests_have_the_ttl_of_lists(tag: str, ttl: float) -> None:
    terms = terms_for_tag(Tag(tag), Terms(TTL, RETRY, OnUpstream404.PURGE, offline=True), 7.0)
    assert terms == Terms(ttl, RETRY, OnUpstream404.PURGE, offline=True)


def test_jitter_never_shortens_and_lengthens_by_a_quarter_at_most() -> None:
    assert jitter(60, 0) == 60
    assert 74 < jitter(60, 0.999) < 75
