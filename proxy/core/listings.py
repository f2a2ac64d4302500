"""Lists: the tags of a repository, the referrers of a manifest, the repositories of this registry."""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import structlog

from proxy.core.descriptors import IndexPage, decode_index, describe, encode_index
from proxy.core.freshness import listing_is_due
from proxy.core.ports import Listing, ManifestRecord, MetadataStore, StorageFullError
from proxy.core.rules import Resolution
from proxy.core.translation import Missing
from proxy.core.upstreams import Upstreams
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import INDEXES
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.pages import DOCUMENT_LIMIT, PAGE_LIMIT, REFERRERS_LIMIT, Page
from proxy.model.reference import RepositoryName, is_tag, referrers_tag
from proxy.model.rule import UPLOADED, Remote

_log = structlog.get_logger(__name__)

_BATCH = 32
"""Manifests that are read from the metadata at a time, if these are small."""

_TAGS = "tags"
_SILENT = frozenset({UpstreamFailure.OFFLINE, UpstreamFailure.NOT_PERMITTED})
"""Failures of upstreams that were not asked at all."""

_CATALOG = 512
"""Names that are looked at together, to find those which may be shown."""

_SCANS = 2
"""Catalogs that are made at a time: who may see little has all names looked at, while others are to be served."""

Visible = Callable[[Sequence[RepositoryName]], Awaitable[list[RepositoryName]]]
"""Which of some names may be shown; in the order in which they came."""

_names = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True)
class TagPage:
    """A page of a repository's tags, in byte order; `more` tells that others follow."""

    name: RepositoryName
    tags: list[str]
    more: bool
    status: CacheStatus = field(default_factory=CacheStatus)


@dataclass(frozen=True, slots=True)
class CatalogPage:
    """A page of repository names, in byte order; `more` tells that others follow."""

    repositories: list[RepositoryName]
    more: bool


@dataclass(frozen=True, slots=True)
class Referrers:
    """A page of referrers as an OCI image index.

    `filtered` tells that only those of the type asked for are in it. Where others follow, they are greater than `last`.
    """

    document: bytes
    filtered: bool
    status: CacheStatus
    last: Digest | None = None


@dataclass(frozen=True, slots=True)
class _List:
    """A list of an upstream: under which key it is kept, and how its document is asked for (True: with repeats)."""

    repository: RepositoryName
    remote: Remote
    key: str
    ask: Callable[[bool], Coroutine[Any, Any, bytes]]


class ListingService:
    """Answer with lists. Every method raises `ProxyError`; a failure is never told as an empty list."""

    def __init__(self, metadata: MetadataStore, upstreams: Upstreams) -> None:
        self._metadata = metadata
        self._upstreams = upstreams
        self._scans = asyncio.Semaphore(_SCANS)

    async def tags(self, resolution: Resolution, n: int | None, last: str) -> TagPage:
        """Return up to `n` tags greater than `last`; without `n`, a page of the largest size.

        So every answer is bounded, and whoever wants a longer list follows its pages, as the distribution-spec permits.
        A cache repository has its upstream's tags and those that are kept; with ECR's character, and while it is
        offline, or the caller may not have its upstream asked, only those that are kept.
        """
        repository, remote = resolution.repository, resolution.remote
        limit = PAGE_LIMIT if n is None else n
        listed, status = list[str](), CacheStatus(hit=True)
        if remote is None or self._upstreams.policy.ecr:
            if not await self._metadata.has_repository(repository):
                raise self._upstreams.policy.unknown(repository)
        else:

            async def ask(retry: bool) -> bytes:  # noqa: FBT001 - the one thing there is to say
                return _encode_tags(remote, await self._upstreams.list_tags(remote, retry=retry))

            try:
                document, status = await self._list(_List(repository, remote, _TAGS, ask))
                listed = _names.decode(document)
            except UpstreamError as error:
                if not await self._are_enough(resolution, error.failure):
                    raise self._upstreams.answer(error, remote, Missing.REPOSITORY) from error
        begin = bisect_right(listed, last)
        kept = await self._metadata.tags(repository, resolution.sources, last, limit + 1)
        tags = sorted({*listed[begin : begin + limit + 1], *kept})
        return TagPage(repository, tags[:limit], limit > 0 and len(tags) > limit, status)

    async def referrers(
        self, resolution: Resolution, subject: Digest, artifact_type: str | None, page: Page
    ) -> Referrers:
        """Return a page, in order of digest, of the manifests whose subject is `subject`.

        With `artifact_type`, of those of that type. A page ends after `REFERRERS_LIMIT` of them, or where its document
        would be longer than `DOCUMENT_LIMIT`. An upstream without the referrers API is asked for the fallback tag
        (distribution-spec, "Referrers Tag Schema"): only where that does not exist either there are none.
        """
        listed, status = await self._listed_referrers(resolution, subject)
        limit = REFERRERS_LIMIT if page.n is None else min(page.n, REFERRERS_LIMIT)
        found = IndexPage(limit, DOCUMENT_LIMIT)
        filtered, more = artifact_type is not None, False
        held = self._held_referrers(resolution, subject, None if listed else artifact_type, page.last, limit + 1)
        async with aclosing(held), aclosing(_merge(listed, held, page.last)) as merged:
            async for one in merged:
                if filtered and one.artifact_type != artifact_type:
                    continue
                if not found.add(one):
                    more = True
                    break
        return Referrers(found.document, filtered, status, found.last if more else None)

    async def catalog(
        self, n: int | None, last: str, visible: Visible | None = None, spans: Sequence[NameSpan] = ALL_NAMES
    ) -> CatalogPage:
        """Return up to `n` names (None: a page of the largest size) greater than `last` of what is kept here.

        With `visible`, of those that it lets through: a page is as full, and says as truly whether others follow. Only
        those in `spans` are looked at.
        """
        limit = PAGE_LIMIT if n is None else n
        if visible is None:
            names = await self._metadata.repositories(last, limit + 1, spans)
            return CatalogPage(names[:limit], limit > 0 and len(names) > limit)
        found = list[RepositoryName]()
        async with self._scans:
            while limit and len(found) <= limit:
                names = await self._metadata.repositories(last, _CATALOG, spans)
                found += await visible(names)
                if len(names) < _CATALOG:
                    break
                last = names[-1]
                await asyncio.sleep(0)  # what was looked up before may never have waited
        return CatalogPage(found[:limit], limit > 0 and len(found) > limit)

    async def _are_enough(self, resolution: Resolution, failure: UpstreamFailure) -> bool:
        """Tell whether the tags that are kept are a whole list although the upstream gave none.

        So they are where it is not to be asked, and where it says that it has no such repository for what was pushed.
        """
        sources: Sequence[str] | None = resolution.sources
        if failure in {UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED} and resolution.takes_pushes:
            sources = (UPLOADED,)
        elif failure not in _SILENT:
            return False
        return bool(await self._metadata.tags(resolution.repository, sources, "", 1))

    async def _listed_referrers(
        self, resolution: Resolution, subject: Digest
    ) -> tuple[tuple[Descriptor, ...], CacheStatus]:
        """Return the upstream's list, if there is an upstream."""
        remote = resolution.remote
        if remote is None:
            return (), CacheStatus(hit=True)

        async def ask(retry: bool) -> bytes:  # noqa: FBT001 - the one thing there is to say
            return encode_index(await self._ask_referrers(remote, subject, retry=retry))

        try:
            document, status = await self._list(_List(resolution.repository, remote, f"referrers:{subject}", ask))
        except UpstreamError as error:
            async with aclosing(self._held_referrers(resolution, subject, None, "", 1)) as held:
                found = await anext(held, None)
            silent = error.failure in _SILENT
            if found is None or not (silent or await self._are_enough(resolution, error.failure)):
                raise self._upstreams.answer(error, remote, Missing.MANIFEST) from error
            return (), CacheStatus(hit=True)
        return decode_index(document), status

    async def _held_referrers(
        self, resolution: Resolution, subject: Digest, artifact_type: str | None, after: str, expected: int
    ) -> AsyncGenerator[ManifestRecord]:
        """Yield the manifests of the repository that refer to `subject` and may be served, in order of digest."""
        repository, remote = resolution.repository, resolution.remote
        batch = min(_BATCH, expected)
        while records := await self._metadata.referrers(repository, subject, artifact_type, after, batch):
            for record in records:
                # Where the rule led elsewhere before, manifests from there are not this upstream's.
                if remote is None or await self._metadata.manifest(repository, record.digest, remote.provenance):
                    yield record
            after, batch = str(records[-1].digest), _BATCH

    async def _ask_referrers(self, remote: Remote, subject: Digest, *, retry: bool) -> tuple[Descriptor, ...]:
        try:
            return _sound(remote, await self._upstreams.list_referrers(remote, subject, retry=retry))
        except UpstreamError as error:
            if error.failure not in {UpstreamFailure.UNSUPPORTED, UpstreamFailure.NOT_FOUND}:
                raise
        try:
            fetched, manifest = await self._upstreams.get_manifest(remote, referrers_tag(subject), retry=retry)
        except UpstreamError as error:
            if error.failure is UpstreamFailure.NOT_FOUND:
                return ()
            raise
        if fetched.media_type not in INDEXES:
            raise UpstreamError(
                UpstreamFailure.GARBAGE, f"the tag that lists referrers is not an index in {remote.rule.upstream}"
            )
        return manifest.children

    # --- lists of upstreams -------------------------------------------------------------------------------------------

    async def _list(self, wanted: _List) -> tuple[bytes, CacheStatus]:
        """Return the list and how it was come by, or raise `UpstreamError` where none is known."""
        remote = wanted.remote
        source = remote.provenance.source
        kept = await self._metadata.listing(wanted.repository, wanted.key, source)

        async def ask() -> bytes:
            return await self._refresh(wanted, kept)

        key = ("list", wanted.repository, remote.rule.prefix, remote.provenance, wanted.key)
        if kept is None:
            self._upstreams.require_permission(remote)
            return await self._upstreams.once(key, ask), CacheStatus(forward=Forward.MISS, stored=True)
        ttl = self._upstreams.policy.listing_ttl.total_seconds()
        now = self._upstreams.clock.now()
        if not listing_is_due(kept, ttl, self._upstreams.retry_check_after(key), now):
            late = "recent-failure" if kept.failed_at > 0 else None
            return kept.document, CacheStatus(hit=True, stale=late)
        if not remote.may_fetch:
            # Who may have it asked is not to wait for this one's refusal.
            reason = UpstreamFailure.NOT_PERMITTED.value
            self._upstreams.bridged(remote, reason)
            return kept.document, CacheStatus(hit=True, stale=reason)
        try:
            document = await self._upstreams.patiently(key, ask, remote.rule.stale_after.total_seconds())
        except UpstreamError as error:
            self._upstreams.bridged(remote, error.failure.value)
            return kept.document, CacheStatus(hit=True, stale=error.failure.value)
        return document, CacheStatus(forward=Forward.STALE, stored=True)

    async def _refresh(self, wanted: _List, kept: Listing | None) -> bytes:
        now = self._upstreams.clock.now
        try:
            # One attempt where a kept list can bridge a failure, as for a kept tag.
            document = await wanted.ask(kept is None)
        except UpstreamError as error:
            if kept is not None and error.failure not in _SILENT:
                await self._keep(wanted, replace(kept, failed_at=now()))
            raise
        await self._keep(wanted, Listing(document, now()))
        return document

    async def _keep(self, wanted: _List, listing: Listing) -> None:
        try:
            await self._metadata.keep_listing(wanted.repository, wanted.key, wanted.remote.provenance.source, listing)
        except StorageFullError as error:
            _log.warning("listing.not_kept", repository=wanted.repository, key=wanted.key, error=str(error))


async def _merge(
    listed: Iterable[Descriptor], held: AsyncIterator[ManifestRecord], last: str
) -> AsyncGenerator[Descriptor]:
    """Yield, in order of digest, what is listed and greater than `last`, and what is held.

    What is held describes itself better: lists that clients keep at a fallback tag may lack types and annotations.
    """
    by_digest = {text: one for one in listed if (text := str(one.digest)) > last}
    left = deque(sorted(by_digest))
    async for record in held:
        digest = str(record.digest)
        while left and left[0] < digest:
            yield by_digest[left.popleft()]
        if left and left[0] == digest:
            left.popleft()
        yield describe(record)
    for digest in left:
        yield by_digest[digest]


def _sound(remote: Remote, listed: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
    good = tuple(one for one in listed if one.is_sound)
    if len(good) < len(listed):
        _log.warning("listing.referrers_refused", rule=remote.rule.prefix, repository=remote.repository)
    return good


def _encode_tags(remote: Remote, tags: Sequence[str]) -> bytes:
    good = sorted({tag for tag in tags if is_tag(tag)})
    if len(good) < len(set(tags)):
        _log.warning("listing.tags_refused", rule=remote.rule.prefix, repository=remote.repository)
    return msgspec.json.encode(good)
