"""When a kept tag may be served, when it is checked, and what an upstream's answer means: pure decisions.

Times are seconds since the epoch, as in `TagRecord`; intervals are seconds.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum, auto

from proxy.core.ports import Listing, TagRecord
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import OnUpstream404

PURGE_AFTER = 3600.0
"""A tag is purged only when the upstream said twice, at least this far apart, that it is gone."""

_DIGEST_TAGS = ("sha256-", "sha512-")
OK = "ok"


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a tag is judged.

    `ttl`: how long it is served after a check. `retry_after`: how long a failed check is not repeated.
    """

    ttl: float
    retry_after: float
    on_404: OnUpstream404 = OnUpstream404.SERVE
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """The time in which a kept tag is served without a question upstream: `seconds` from `since` on."""

    since: float
    seconds: float

    def covers(self, now: float) -> bool:
        """Tell whether `now` is in it."""
        return 0 <= now - self.since < self.seconds  # as `_within`, of which each request would feel the call


ALWAYS = Span(0.0, math.inf)
"""For what no time puts an end to: no clock is set to before the epoch."""


class Step(Enum):
    """What to do about a request for a tag, before anybody is asked."""

    SERVE = auto()  # fresh: no request upstream
    CHECK = auto()  # a copy is kept, and it is time to ask whether it is still right
    SERVE_STALE = auto()  # a copy is kept; asking is not permitted, or failed a moment ago
    GONE = auto()  # a copy is kept, but the upstream said it is gone, and the rule believes that
    FETCH = auto()  # nothing is kept
    REFUSE = auto()  # nothing is kept, and asking is not permitted


class Verdict(Enum):
    """What an upstream's answer about a tag means."""

    CONFIRMED = auto()  # the kept digest is still right
    KEPT = auto()  # the tag has moved upstream, but may not move here
    MOVED = auto()  # another digest is to be fetched
    STALE = auto()  # the upstream failed; the kept copy bridges it
    GONE = auto()  # the upstream said it is gone, and the rule believes that
    PURGED = auto()  # as GONE, and the kept tag is to be removed
    FAILED = auto()  # the upstream failed, and nothing is kept


def terms_for_tag(tag: Tag, terms: Terms, listing_ttl: float) -> Terms:
    """Return the terms of one tag: tags made of digests are lists of referrers or signatures, and age like lists."""
    return replace(terms, ttl=listing_ttl) if tag.startswith(_DIGEST_TAGS) else terms


def fresh_span(record: TagRecord, terms: Terms) -> Span | None:
    """Return when `before_asking` says SERVE of a record, with these terms, offline or not; None where that differs."""
    return Span(record.checked_at, terms.ttl) if record.missing_since == 0 else None


def jitter(seconds: float, spread: float) -> float:
    """Return `seconds` lengthened by up to a quarter; `spread` in [0, 1) says where in that quarter."""
    return seconds * (1 + spread / 4)


def before_asking(record: TagRecord | None, terms: Terms, now: float, *, forced: bool = False) -> Step:
    """Decide about a request at `now` for a tag that is kept as `record`; `forced` asks although it is fresh."""
    if record is None:
        return Step.REFUSE if terms.offline else Step.FETCH
    gone = record.missing_since > 0 and terms.on_404 is OnUpstream404.NOT_FOUND
    if terms.offline:
        return Step.GONE if gone else Step.SERVE if _within(record.checked_at, terms.ttl, now) else Step.SERVE_STALE
    if forced:
        return Step.CHECK
    if record.missing_since == 0 and _within(record.checked_at, terms.ttl, now):
        return Step.SERVE  # also where a forced check has failed since: what was certain then still is
    if record.failed_at > 0 and _within(record.failed_at, terms.retry_after, now):
        return Step.GONE if gone else Step.SERVE_STALE
    return Step.CHECK


def after_answer(
    record: TagRecord | None, answer: Digest | UpstreamFailure, terms: Terms, now: float, *, may_move: bool = True
) -> tuple[Verdict, TagRecord | None]:
    """Return what the upstream's answer at `now` means, and the record as it is to be kept.

    `answer` is the digest the tag has upstream, or how asking failed; NOT_FOUND is certain. `may_move` is False
    where immutability forbids the tag another digest. With MOVED, and with nothing kept, the record is None or the
    old one: the fetch makes the new one.
    """
    if record is None:
        return (Verdict.MOVED if isinstance(answer, Digest) else Verdict.FAILED), None
    if isinstance(answer, Digest):
        checked = replace(record, checked_at=now, outcome=OK, failed_at=0.0, missing_since=0.0)
        if answer == record.digest:
            return Verdict.CONFIRMED, checked
        return (Verdict.MOVED, record) if may_move else (Verdict.KEPT, checked)
    failed = replace(record, outcome=answer.value, failed_at=now)
    if answer is not UpstreamFailure.NOT_FOUND:
        # What was certain before stays certain: an upstream that is down does not bring back what it said is gone.
        gone = record.missing_since > 0 and terms.on_404 is OnUpstream404.NOT_FOUND
        return (Verdict.GONE if gone else Verdict.STALE), failed
    failed = replace(failed, missing_since=record.missing_since or now)
    if terms.on_404 is OnUpstream404.NOT_FOUND:
        return Verdict.GONE, failed
    if terms.on_404 is OnUpstream404.PURGE and now - failed.missing_since >= PURGE_AFTER:
        return Verdict.PURGED, failed
    return Verdict.STALE, failed


def listing_is_due(listing: Listing, ttl: float, retry_after: float, now: float) -> bool:
    """Tell whether a kept list is to be asked for again."""
    if listing.failed_at > 0:
        return not _within(listing.failed_at, retry_after, now)
    return not _within(listing.checked_at, ttl, now)


def _within(since: float, seconds: float, now: float) -> bool:
    # A time in the future means that the clock was set back: nothing can be said about the age then.
    return 0 <= now - since < seconds
