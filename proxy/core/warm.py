"""Answers from memory: what clients pull again and again costs no query and no thread, and is still never out of date.

An answer is kept with the *generation* of the metadata that it was read from, asked for before the first query, and is
given again only while the generation is the same: no process has written anything in between, so the queries would find
what they found. Whatever is written anywhere puts all answers out of use at once; each is looked up anew when it is
asked for next. There is nothing to send, to miss or to repair.

Only answers are kept that nothing but the metadata and the rule decides, and that a second request would get alike:
plain hits. What a request has to do beside its answer is done by others, for answers from memory too.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, NewType, TypeVar

from proxy.core.freshness import ALWAYS, Span
from proxy.core.ports import Changes
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule
from proxy.telemetry.metrics import Metrics

A = TypeVar("A")

Start = NewType("Start", object)
"""The generation of the metadata before the first query for an answer."""

_SHARE: Final = 4 << 10
"""Bytes of content for each of which one answer may be kept: an answer itself takes less than one kilobyte."""


class ContentMemory:
    """The bytes of manifests and small blobs by digest, the least used of which go first.

    That they are here says nothing about who may see them, nor that they are still stored.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        """Hold up to `limit` bytes; 0 holds nothing."""
        self.limit = limit
        self.metrics = metrics
        # By their hexadecimal digits, whose number tells the algorithm: a text is looked up faster than a `Digest`.
        self._held: OrderedDict[str, bytes] = OrderedDict()  # the longest unused first
        self._size = 0

    def get(self, digest: Digest) -> bytes | None:
        """Return the content of that digest, or None."""
        raw = self._held.get(digest.encoded)
        if raw is not None:
            self._held.move_to_end(digest.encoded)
        return raw

    def put(self, digest: Digest, raw: bytes) -> None:
        """Hold `raw`, the content of that digest, where there is room for as much at all."""
        if not self.limit or len(raw) > self.limit:
            return
        self._size += len(raw) - len(self._held.pop(digest.encoded, b""))
        self._held[digest.encoded] = raw
        while self._size > self.limit:
            self._size -= len(self._held.popitem(last=False)[1])
        self.metrics.memory_bytes.set(self._size)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[A]):
    """An answer, and what must still be so for it to be given again. `rule` is compared as an object."""

    start: Start
    rule: CacheRule | None
    upstream: RepositoryName | None
    span: Span
    digest: Digest
    answer: A


class WarmAnswers(Generic[A]):
    """Answers about one kind of content, by what requests were resolved to. Their bytes lie in `memory`.

    Two requests share an answer only if they mean one repository behind one upstream repository, by one rule of one
    configuration. Whether its caller may cause a request upstream makes no difference: these answers cause none.
    """

    def __init__(self, kind: str, changes: Changes, memory: ContentMemory) -> None:
        """Count under `kind`: manifest or blob."""
        self._kind = kind
        self._changes = changes
        self._memory = memory
        self._limit = memory.limit // _SHARE
        self._kept: OrderedDict[Hashable, _Kept[A]] = OrderedDict()  # the longest unused first
        self._hits = self._misses = 0
        memory.metrics.before_read(lambda: self._count(memory.metrics))

    @property
    def on(self) -> bool:
        """Tell whether anything is kept at all."""
        return self._limit > 0

    def start(self) -> Start:
        """Return what `keep` wants to know. To be asked for before the first query, and before anything is awaited."""
        return Start(self._changes.generation())

    def find(self, resolution: Resolution, reference: Tag | Digest, now: float) -> tuple[A, bytes] | None:
        """Return the answer and the bytes that it is about, or None. `now` is in seconds since the epoch."""
        key = _key(resolution, reference)
        kept = self._kept.get(key)
        if kept is None or not kept.span.covers(now):
            return None
        remote = resolution.remote
        if remote is None:
            if kept.rule is not None:
                return None
        elif remote.rule is not kept.rule or remote.repository != kept.upstream:
            return None
        if self._changes.generation() != kept.start:
            return None
        raw = self._memory.get(kept.digest)
        if raw is None:
            return None
        self._kept.move_to_end(key)
        self._hits += 1
        return kept.answer, raw

    def keep(
        self,
        resolution: Resolution,
        reference: Tag | Digest,
        start: Start,
        answer: A,
        content: tuple[Digest, bytes],
        span: Span = ALWAYS,
    ) -> None:
        """Give `answer` again while all is as it was at the `start`, and in `span`. `content` is what it is about."""
        if not self.on:
            return
        remote = resolution.remote
        rule, upstream = (remote.rule, remote.repository) if remote is not None else (None, None)
        self._memory.put(*content)
        key = _key(resolution, reference)
        self._kept[key] = _Kept(start, rule, upstream, span, content[0], answer)
        self._kept.move_to_end(key)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        self._misses += 1

    def _count(self, metrics: Metrics) -> None:
        metrics.warm_answers.labels(self._kind, "hit").inc(self._hits)
        metrics.warm_answers.labels(self._kind, "miss").inc(self._misses)
        self._hits = self._misses = 0


def _key(resolution: Resolution, reference: Tag | Digest) -> Hashable:
    remote = resolution.remote
    prefix = remote.rule.prefix if remote is not None else None
    if isinstance(reference, Digest):
        return resolution.repository, prefix, reference.algorithm, reference.encoded
    return resolution.repository, prefix, reference
