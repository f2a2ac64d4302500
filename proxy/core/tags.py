"""What a tag means now: from the metadata, from memory, or from its upstream."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from cachetools import TTLCache

from proxy.core.contents import ManifestContents
from proxy.core.freshness import (
    ALWAYS,
    Span,
    Step,
    Terms,
    Verdict,
    after_answer,
    before_asking,
    fresh_span,
    terms_for_tag,
)
from proxy.core.heads import Heads
from proxy.core.negative import Asked
from proxy.core.ports import (
    FetchedManifest,
    ManifestHead,
    MetadataStore,
    StorageFullError,
    TagKeptError,
    TagRecord,
    TagWrite,
)
from proxy.core.rules import Resolution
from proxy.core.translation import Missing
from proxy.core.upstreams import Upstreams
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.model.manifest import Manifest, parse_manifest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, Remote
from proxy.model.tag_policy import TagPolicy

_log = structlog.get_logger(__name__)

_AWAITED = timedelta(minutes=1)
"""How long a client that was told a tag's digest may take to come for it."""
_ELSEWHERE = timedelta(seconds=10)
"""How long it is looked whether the client went for it to another process."""
_LOOKED_AT = 500
"""How many digests that clients were told are looked for, at most: each look is a query."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a tag means, and how that was found.

    `raw` are the bytes where they are at hand, kept or not. `size` is set where only the upstream's HEAD is known:
    nothing is kept then. `span` is set where the metadata alone decided: in that time, and while nothing is written,
    they decide the same again.
    """

    record: TagRecord
    status: CacheStatus
    warning: str | None = None
    raw: bytes | None = None
    size: int | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    """What one check, shared by all who wait for it, came to."""

    verdict: Verdict
    record: TagRecord
    failure: UpstreamFailure | None = None
    raw: bytes | None = None
    kept: bool = True


@dataclass(frozen=True, slots=True)
class _Sought:
    """A tag of a cache repository; `sources` and `policy` are those of its resolution."""

    repository: RepositoryName
    remote: Remote
    tag: Tag
    sources: tuple[str, ...]
    policy: TagPolicy

    def key(self, work: str) -> tuple[object, ...]:
        """Name work about this tag. With rule and upstream: two rules never share an answer by chance."""
        return (work, self.repository, self.remote.rule.prefix, self.remote.provenance, self.tag)


class TagService:
    """Resolve tags. A tag is served only while its rule leads to where it came from."""

    def __init__(self, metadata: MetadataStore, contents: ManifestContents, upstreams: Upstreams) -> None:
        self._metadata = metadata
        self._contents = contents
        self._upstreams = upstreams
        self._heads = Heads(upstreams.clock, upstreams.policy.negative_ttl, _AWAITED)
        self._told: TTLCache[tuple[object, ...], tuple[_Sought, TagRecord]] = TTLCache(
            _LOOKED_AT, _ELSEWHERE.total_seconds(), timer=upstreams.clock.monotonic
        )
        self._seen: object = None

    async def find(self, resolution: Resolution, tag: Tag, *, head: bool = False, forced: bool = False) -> Found:
        """Return what `tag` means now, or raise the `ProxyError` for the client.

        With `head` an uncached tag costs one HEAD upstream, and nothing is fetched. With `forced` the upstream is
        asked although the kept tag is fresh, and waited for.
        """
        landed, remote = self._upstreams.landed, resolution.remote
        record = await self._record(resolution, tag)
        if remote is None:
            if record is None:
                raise await self._unknown(resolution.repository, tag)
            return Found(record, CacheStatus(hit=True), span=ALWAYS)
        sought = _Sought(resolution.repository, remote, tag, resolution.sources or (), resolution.tag_policy)
        while record is None and self._upstreams.has_landed(sought.key("fetch"), landed):
            landed = self._upstreams.landed
            record = await self._record(resolution, tag)
        if record is not None and record.source == UPLOADED:
            return Found(record, CacheStatus(hit=True), span=ALWAYS)  # no upstream has a say in it
        return await self._seek(sought, record, head=head, forced=forced)

    async def _record(self, resolution: Resolution, tag: Tag) -> TagRecord | None:
        """Return what is kept of the tag, if it came from where the rule leads to now."""
        record = await self._metadata.tag(resolution.repository, tag)
        sources = resolution.sources
        return record if record is None or sources is None or record.source in sources else None

    async def _seek(self, sought: _Sought, record: TagRecord | None, *, head: bool, forced: bool) -> Found:
        remote = sought.remote
        terms = self._terms(sought)
        if forced:
            self._upstreams.forget(remote, Asked.MANIFEST, str(sought.tag))
        step = before_asking(record, terms, self._upstreams.clock.now(), forced=forced)
        if record is None:
            return await (self._head(sought) if head else self._fetch(sought))
        match step:
            case Step.SERVE:
                return Found(record, CacheStatus(hit=True), span=fresh_span(record, terms))
            case Step.GONE:
                raise self._gone(sought)
            case Step.CHECK:
                thrift = None if forced else self._upstreams.hesitates(remote)
                if thrift is not None:
                    return self._unchecked(sought, record, thrift)
                return await self._check(sought, record, terms, forced=forced)
            case _:
                silence = self._upstreams.policy.silence(remote)
                return self._stale(sought, record, silence.value if silence is not None else record.outcome)

    def awaited(self, repository: RepositoryName, remote: Remote, digest: Digest) -> tuple[TagRecord, ...]:
        """Return, once, the tags that clients were told to mean `digest` before it was fetched."""
        return self._heads.awaited(repository, remote, digest)

    async def keep_told(self) -> None:
        """Keep the tags that clients were told of here, and whose manifests another process has fetched since.

        Many clients ask HEAD by tag and then GET by digest, each perhaps of another process on the same store: that
        one cannot know the tag.
        """
        generation = self._metadata.generation()
        if not self._told or generation == self._seen:
            return
        for key, (sought, record) in tuple(self._told.items()):
            awaited = self._heads.awaits(sought.repository, sought.remote, record)
            if not awaited or await self._adopt(sought, record) is not None:
                self._told.pop(key, None)
        self._seen = generation

    def forget(self, repository: RepositoryName) -> None:
        """Drop what is in memory about a repository's tags."""
        self._heads.forget(repository)

    def _terms(self, sought: _Sought) -> Terms:
        rule, policy = sought.remote.rule, self._upstreams.policy
        terms = Terms(
            rule.revalidate_after.total_seconds(),
            self._upstreams.retry_check_after(sought.key("check")),
            rule.on_upstream_404,
            policy.is_offline(sought.remote),
        )
        return terms_for_tag(sought.tag, terms, policy.listing_ttl.total_seconds())

    # --- nothing is kept ----------------------------------------------------------------------------------------------

    async def _head(self, sought: _Sought) -> Found:
        if self._upstreams.flying(sought.key("fetch")) or not sought.remote.may_fetch:
            return await self._fetch(sought)
        repository, remote, tag = sought.repository, sought.remote, sought.tag
        known = self._heads.recall(repository, remote, tag)
        head = known or await self._ask_head(sought)
        if known is None:
            self._heads.remember(repository, remote, tag, head, self._terms(sought).ttl)
        if head.digest is None or head.size is None or head.digest.algorithm != "sha256":
            # An answer needs the canonical digest and the length: the bytes tell both.
            return await self._fetch(sought)
        record = self._new_record(sought, head.digest, head.media_type)
        forward = None if known else Forward.MISS
        adopted = await self._adopt(sought, record)
        if adopted is not None:
            return Found(adopted, CacheStatus(hit=True, forward=forward))
        self._heads.await_digest(repository, remote, record)
        self._told[sought.key("told")] = sought, record
        return Found(record, CacheStatus(hit=known is not None, forward=forward), size=head.size)

    async def _ask_head(self, sought: _Sought) -> ManifestHead:
        async def ask() -> ManifestHead:
            return await self._upstreams.head_manifest(sought.remote, sought.tag, retry=True)

        try:
            return await self._upstreams.once(sought.key("head"), ask)
        except UpstreamError as error:
            raise self._upstreams.answer(error, sought.remote, Missing.MANIFEST) from error

    async def _fetch(self, sought: _Sought) -> Found:
        async def fetch() -> _Checked:
            return await self._get(sought, retry=True)

        key = sought.key("fetch")
        collapsed = self._upstreams.flying(key)
        try:
            self._upstreams.require_permission(sought.remote)
            checked = await self._upstreams.once(key, fetch)
        except UpstreamError as error:
            raise self._upstreams.answer(error, sought.remote, Missing.MANIFEST) from error
        return self._fetched(checked, Forward.MISS, collapsed=collapsed)

    async def _get(self, sought: _Sought, *, retry: bool) -> _Checked:
        """Fetch the tag and keep it; its digest is that of the bytes, whatever a HEAD said before."""
        content = await self._upstreams.get_manifest(sought.remote, sought.tag, retry=retry)
        return await self._keep(sought, content)

    async def _keep(self, sought: _Sought, content: tuple[FetchedManifest, Manifest]) -> _Checked:
        fetched = content[0]
        record = self._new_record(sought, fetched.digest, fetched.media_type)
        provenance = sought.remote.provenance
        try:
            kept = await self._contents.keep(sought.repository, content, provenance, _write(sought, record))
        except TagKeptError as error:
            self._refuse_move(sought, fetched.digest)
            if error.record.source in sought.sources:
                return _Checked(Verdict.KEPT, error.record)
            # It came from where the rule led before: it is neither served nor moved, and the pull goes on.
            await self._contents.keep(sought.repository, content, provenance)
            kept = False
        self._upstreams.forget(sought.remote, Asked.MANIFEST, str(sought.tag))
        self._heads.drop(sought.repository, sought.remote, sought.tag)
        return _Checked(Verdict.MOVED, record, raw=fetched.raw, kept=kept)

    # --- a copy is kept -----------------------------------------------------------------------------------------------

    async def _check(self, sought: _Sought, record: TagRecord, terms: Terms, *, forced: bool) -> Found:
        async def check() -> _Checked:
            return await self._ask(sought, record, terms)

        key = sought.key("check")
        collapsed = self._upstreams.flying(key)
        patience = None if forced else sought.remote.rule.stale_after.total_seconds()
        try:
            checked = await self._upstreams.patiently(key, check, patience)
        except UpstreamError as error:
            return self._stale(sought, record, error.failure.value)
        match checked.verdict:
            case Verdict.CONFIRMED | Verdict.KEPT:
                return Found(checked.record, CacheStatus(hit=True, forward=Forward.STALE, collapsed=collapsed))
            case Verdict.MOVED:
                return self._fetched(checked, Forward.STALE, collapsed=collapsed)
            case Verdict.GONE | Verdict.PURGED:
                raise self._gone(sought)
            case _:
                reason = checked.failure.value if checked.failure is not None else checked.record.outcome
                return self._stale(sought, checked.record, reason)

    async def _ask(self, sought: _Sought, record: TagRecord, terms: Terms) -> _Checked:
        """Check a kept tag: one HEAD, and a GET only where the digest is new here. One attempt: a copy is at hand."""
        failure, fresh = None, None
        try:
            head = await self._upstreams.head_manifest(sought.remote, sought.tag, retry=False)
            digest = head.digest
            if digest is None or digest.algorithm != record.digest.algorithm:
                fresh = await self._upstreams.get_manifest(sought.remote, sought.tag, retry=False)
                digest = fresh[0].digest
            # Asked before it is fetched for nothing; what counts is decided with the write.
            may_move = digest == record.digest or (await self._policy(sought)).may_move(sought.tag)
            if digest != record.digest and may_move:
                fresh = fresh or await self._held(sought, digest, head.media_type)
                fresh = fresh or await self._upstreams.get_manifest(sought.remote, sought.tag, retry=False)
                digest = fresh[0].digest
            verdict, after = after_answer(record, digest, terms, self._upstreams.clock.now(), may_move=may_move)
        except UpstreamError as error:
            failure = error.failure
            verdict, after = after_answer(record, failure, terms, self._upstreams.clock.now())
            _log.warning(
                "tag.check_failed",
                rule=sought.remote.rule.prefix,
                repository=sought.repository,
                tag=sought.tag,
                failure=failure.value,
                message=error.message,
                debug=error.debug,
            )
        if verdict is Verdict.MOVED and fresh is not None:
            _log.info("tag.moved", repository=sought.repository, tag=sought.tag, digest=str(fresh[0].digest))
            return await self._keep(sought, fresh)
        if verdict is Verdict.KEPT:
            self._refuse_move(sought, record.digest)
        await self._note(sought, verdict, after or record)
        return _Checked(verdict, after or record, failure)

    async def _note(self, sought: _Sought, verdict: Verdict, record: TagRecord) -> None:
        try:
            if verdict is Verdict.PURGED:
                _log.info("tag.purged", repository=sought.repository, tag=sought.tag)
                await self._metadata.delete_tag(sought.repository, sought.tag, record.source)
            else:
                await self._metadata.update_tag(sought.repository, record)
        except StorageFullError as error:
            # A check that cannot be written down is repeated; it must not fail the pull.
            _log.warning("tag.not_updated", repository=sought.repository, tag=sought.tag, error=str(error))

    async def _held(self, sought: _Sought, digest: Digest, media_type: str) -> tuple[FetchedManifest, Manifest] | None:
        """Return a manifest that came from this upstream before, whole and readable, or None."""
        held = await self._metadata.manifest(sought.repository, digest, sought.remote.provenance)
        raw = await self._contents.read(digest) if held is not None and held.media_type == media_type else None
        if held is None or raw is None:
            return None
        try:
            return FetchedManifest(raw, held.media_type, digest), parse_manifest(raw, held.media_type)
        except ProxyError as error:
            _log.warning("manifest.refused", digest=str(digest), reason=error.message)
            return None

    async def _adopt(self, sought: _Sought, record: TagRecord) -> TagRecord | None:
        """Keep the tag if its manifest is held already, and return what it is then; None where it cannot be kept."""
        held = await self._held(sought, record.digest, record.media_type)
        if held is None:
            return None
        try:
            kept = await self._contents.keep(sought.repository, held, sought.remote.provenance, _write(sought, record))
        except TagKeptError as error:
            return error.record if error.record.source in sought.sources else None
        return record if kept else None

    def _refuse_move(self, sought: _Sought, digest: Digest) -> None:
        self._upstreams.move_refused()
        _log.info("tag.move_refused", repository=sought.repository, tag=sought.tag, digest=str(digest))

    async def _policy(self, sought: _Sought) -> TagPolicy:
        known = await self._metadata.repository(sought.repository)
        return sought.policy if known is None or known.tag_policy is None else known.tag_policy

    # --- answers ------------------------------------------------------------------------------------------------------

    def _new_record(self, sought: _Sought, digest: Digest, media_type: str) -> TagRecord:
        now = self._upstreams.clock.now()
        return TagRecord(sought.tag, digest, media_type, sought.remote.provenance.source, now, now)

    def _fetched(self, checked: _Checked, forward: Forward, *, collapsed: bool) -> Found:
        if checked.verdict is Verdict.KEPT:
            return Found(checked.record, CacheStatus(hit=True, forward=forward, collapsed=collapsed))
        status = CacheStatus(forward=forward, collapsed=collapsed, stored=checked.kept, bypass=not checked.kept)
        return Found(checked.record, status, raw=checked.raw)

    def _stale(self, sought: _Sought, record: TagRecord, reason: str) -> Found:
        self._upstreams.bridged(sought.remote, reason)
        warning = f"{sought.remote.rule.upstream} did not confirm this copy ({reason}); {_when(record)}"
        return Found(record, CacheStatus(hit=True, stale=reason), warning)

    def _unchecked(self, sought: _Sought, record: TagRecord, thrift: str) -> Found:
        # A hit, not a stale answer: the upstream did not fail, and the next one may be checked again.
        upstream = sought.remote.rule.upstream
        warning = f"{upstream} was not asked whether this copy is still right ({thrift}); {_when(record)}"
        return Found(record, CacheStatus(hit=True, detail=thrift), warning)

    def _gone(self, sought: _Sought) -> ProxyError:
        error = UpstreamError(UpstreamFailure.NOT_FOUND, f"{sought.remote.rule.upstream} no longer has the tag")
        return self._upstreams.answer(error, sought.remote, Missing.MANIFEST)

    async def _unknown(self, repository: RepositoryName, tag: Tag) -> ProxyError:
        if not await self._metadata.has_repository(repository):
            return self._upstreams.policy.unknown(repository)
        return ProxyError(ErrorCode.MANIFEST_UNKNOWN, detail={"name": repository, "tag": tag})


def write_as_upstream(records: tuple[TagRecord, ...], policy: TagPolicy, sources: tuple[str, ...]) -> TagWrite:
    """Return how tags are written that an upstream names: it has no say in those that were pushed and are served."""
    return TagWrite(records, policy, spared=(UPLOADED,) if UPLOADED in sources else ())


def _write(sought: _Sought, record: TagRecord) -> TagWrite:
    return write_as_upstream((record,), sought.policy, sought.sources)


def _when(record: TagRecord) -> str:
    checked = datetime.fromtimestamp(record.checked_at, UTC)
    return f"it was last checked {checked.strftime('%Y-%m-%d %H:%M:%S UTC')}"
