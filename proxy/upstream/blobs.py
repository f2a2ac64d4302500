"""Blobs on their way from an upstream: which bytes an answer holds, and how long they may take."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp
from yarl import URL

from proxy.config.settings import UpstreamSettings
from proxy.core.ports import Clock
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import Remote
from proxy.telemetry.metrics import Metrics
from proxy.upstream.answers import Answer, transfer_failure
from proxy.upstream.bandwidth import Bandwidth
from proxy.upstream.query import Kind, Query, Weight

_OK, _PARTIAL = 200, 206
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19})", re.IGNORECASE)


def blob_query(remote: Remote, digest: Digest, method: str) -> Query:
    """Return the request for a blob."""
    url = URL(f"{remote.rule.upstream.origin}/v2/{remote.repository}/blobs/{digest}", encoded=True)
    weight = Weight.BULK if method == "GET" else Weight.LIGHT
    return Query(remote, Kind.BLOB, method, url, f"blob {remote.repository}@{digest}", {"Accept": "*/*"}, weight)


def part_query(whole: Query, start: int, validator: str, stop: int | None) -> Query:
    """Return the request for the bytes [`start`, `stop`) of what `whole` asks for; `stop` None means to the end.

    `validator` is what a `ReceivedBlob` had: the host that gave an entity tag, and the tag.
    """
    if not start and stop is None:
        return whole
    headers = {**whole.headers, "Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
    host, _, tag = validator.rpartition(" ")
    if tag:
        headers["If-Range"] = tag
    return replace(whole, headers=headers, tagged_by=host)


def first_byte_query(remote: Remote, digest: Digest) -> Query:
    """Return the request for one byte of a blob, whose Content-Range tells the size of the whole."""
    return replace(part_query(blob_query(remote, digest, "GET"), 0, "", 1), weight=Weight.LIGHT)


@dataclass(frozen=True, slots=True)
class Extent:
    """Which bytes of a blob an answer holds: from `start` up to `end`, exclusive, of `total`."""

    start: int
    end: int
    total: int


def extent_of(answer: Answer) -> Extent | None:
    """Return the extent that the headers of a 200 or 206 tell, or None if a 200 does not tell its length.

    Raises `UpstreamError` GARBAGE for headers that contradict each other.
    """
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if answer.status == _OK:
        if answer.media_type == "text/html":
            raise answer.garbage("a web page")
        if answer.length is not None:
            return Extent(0, answer.length, answer.length)
        return Extent(0, int(found[3]), int(found[3])) if found and int(found[1]) == 0 else None
    if found is None:
        raise answer.garbage("a part without a Content-Range")
    extent = Extent(int(found[1]), int(found[2]) + 1, int(found[3]))
    if not extent.start < extent.end <= extent.total or answer.length not in {None, extent.end - extent.start}:
        raise answer.garbage("a Content-Range that cannot be")
    return extent


def entity_tag(answer: Answer) -> str:
    """Return the strong entity tag of an answer, or "": a weak one must not be used to resume (RFC 9110 §13.1.5)."""
    tag = answer.headers.get("ETag", "").strip()
    return tag if re.fullmatch(r'"[\x21\x23-\x7e]*"', tag) else ""


def _validator(answer: Answer) -> str:
    """Return the host and its entity tag, or "" where there is nothing to compare with what was asked for.

    A registry may lead to another storage each time, and each has tags of its own for the same bytes: only the size
    and, at last, the digest of the blob can tell then whether they are the same.
    """
    tag, asked = entity_tag(answer), answer.query.tagged_by
    return f"{answer.host} {tag}" if tag and asked in {"", answer.host} else ""


class ReceivedBlob:
    """The `BlobBody` port over an open answer."""

    def __init__(
        self,
        answer: Answer,
        extent: Extent,
        settings: UpstreamSettings,
        clock: Clock,
        metrics: Metrics,
        bandwidth: Bandwidth,
    ) -> None:
        self.start = extent.start
        self.stop = extent.end
        self.total = extent.total
        self.validator = _validator(answer)
        self._answer = answer
        self._left = extent.end - extent.start
        self._clock = clock
        self._pace = Pace(settings.min_rate, settings.min_rate_window.total_seconds())
        self._bandwidth = bandwidth
        self._received = metrics.bytes.labels("upstream")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come in; see the port."""
        answer = self._answer
        while True:
            asked = self._clock.monotonic()
            try:
                # The session's `sock_read` limits the wait for a single byte.
                chunk = await answer.content.readany()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise transfer_failure(error, answer.host, answer.query.what) from None
            if not chunk:
                break
            self._received.inc(len(chunk))
            self._left -= len(chunk)
            if self._left < 0:
                raise answer.garbage("more bytes than it announced")
            if not self._pace.keeps_up(len(chunk), self._clock.monotonic() - asked):
                raise UpstreamError(
                    UpstreamFailure.TIMEOUT, f"{answer.host} sends {answer.query.what} slower than `min_rate`"
                )
            # Nobody reads meanwhile, so nobody is timed: neither by `sock_read`, which pauses with the reading, nor by
            # `min_rate`.
            async for piece in self._bandwidth.pieces(answer.query.rule, chunk):
                yield piece
        if self._left:
            raise UpstreamError(
                UpstreamFailure.UNREACHABLE, f"{answer.host} ended {answer.query.what} {self._left} bytes too early"
            )


class Pace:
    """Judge a sender's speed over windows of waiting time: time in which a slow reader took nothing does not count."""

    def __init__(self, least_rate: int, window: float) -> None:
        self._least_rate = least_rate
        self._window = window
        self._waited = 0.0
        self._bytes = 0

    def keeps_up(self, size: int, waited: float) -> bool:
        """Count `size` bytes that took `waited` seconds; tell whether the sender has been fast enough."""
        self._bytes += size
        self._waited += waited
        if self._waited < self._window:
            return True
        fast = self._bytes >= self._least_rate * self._waited
        self._waited, self._bytes = 0.0, 0
        return fast
