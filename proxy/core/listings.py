"""Lists: the tags of a repository, the referrers of a manifest, the repositories of this registry."""

from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import structlog

from proxy.core.descriptors import decode_index, describe, encode_index
from proxy.core.freshness import listing_is_due
from proxy.core.ports import Listing, MetadataStore, StorageFullError
from proxy.core.rules import Resolution
from proxy.core.translation import Missing
from proxy.core.upstreams import Upstreams
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.model.media_types import INDEXES
from proxy.model.pages import PAGE_LIMIT
from proxy.model.reference import RepositoryName, is_tag, referrers_tag
from proxy.model.rule import Remote

_log = structlog.get_logger(__name__)

_BATCH = 1000
_TAGS = "tags"
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
    """An OCI image index of referrers; `filtered` tells that only those of the type asked for are in it."""

    document: bytes
    filtered: bool
    status: CacheStatus


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

    async def tags(self, resolution: Resolution, n: int | None, last: str) -> TagPage:
        """Return up to `n` tags (None: all) greater than `last`.

        A cache repository has its upstream's tags and those that are kept; with ECR's character, and while it is
        offline, only those that are kept.
        """
        repository, remote = resolution.repository, resolution.remote
        policy = self._upstreams.policy
        if remote is None or policy.ecr:
            return await self._kept_tags(repository, remote, n, last)
        kept = await self._all_kept(repository, remote)

        async def ask(retry: bool) -> bytes:  # noqa: FBT001 - the one thing there is to say
            return _encode_tags(remote, await self._upstreams.list_tags(remote, retry=retry))

        try:
            document, status = await self._list(_List(repository, remote, _TAGS, ask))
        except UpstreamError as error:
            if error.failure is not UpstreamFailure.OFFLINE or not kept:
                raise self._upstreams.answer(error, remote, Missing.REPOSITORY) from error
            document, status = b"[]", CacheStatus(hit=True)
        tags = sorted({*_names.decode(document), *kept})
        begin = bisect_right(tags, last) if last else 0
        end = len(tags) if n is None else begin + n
        return TagPage(repository, tags[begin:end], n != 0 and end < len(tags), status)

    async def referrers(self, resolution: Resolution, subject: Digest, artifact_type: str | None) -> Referrers:
        """Return the manifests whose subject is `subject`; with `artifact_type`, those of that type.

        An upstream without the referrers API is asked for the fallback tag (distribution-spec, "Referrers Tag
        Schema"): only where that does not exist either there are none.
        """
        repository, remote = resolution.repository, resolution.remote
        found = await self._local_referrers(repository, remote, subject)
        status = CacheStatus(hit=True)
        if remote is not None:

            async def ask(retry: bool) -> bytes:  # noqa: FBT001 - the one thing there is to say
                return encode_index(await self._ask_referrers(remote, subject, retry=retry))

            try:
                document, status = await self._list(_List(repository, remote, f"referrers:{subject}", ask))
            except UpstreamError as error:
                if error.failure is not UpstreamFailure.OFFLINE or not found:
                    raise self._upstreams.answer(error, remote, Missing.MANIFEST) from error
            else:
                found = {one.digest: one for one in decode_index(document)} | found
        chosen = [one for one in found.values() if artifact_type is None or one.artifact_type == artifact_type]
        return Referrers(encode_index(chosen), artifact_type is not None, status)

    async def catalog(self, n: int | None, last: str) -> CatalogPage:
        """Return up to `n` names (None: a page of the largest size) greater than `last` of what is kept here."""
        limit = PAGE_LIMIT if n is None else n
        names = await self._metadata.repositories(last, limit + 1)
        return CatalogPage(names[:limit], limit > 0 and len(names) > limit)

    async def _kept_tags(self, repository: RepositoryName, remote: Remote | None, n: int | None, last: str) -> TagPage:
        if not await self._metadata.has_repository(repository):
            raise ProxyError(ErrorCode.NAME_UNKNOWN, detail={"name": repository})
        if n is None:
            return TagPage(
                repository, await self._all_kept(repository, remote, last), more=False, status=CacheStatus(hit=True)
            )
        source = remote.provenance.source if remote is not None else None
        tags: list[str] = [*await self._metadata.tags(repository, source, last, n + 1)]
        return TagPage(repository, tags[:n], n > 0 and len(tags) > n, CacheStatus(hit=True))

    async def _all_kept(self, repository: RepositoryName, remote: Remote | None, last: str = "") -> list[str]:
        source = remote.provenance.source if remote is not None else None
        tags: list[str] = []
        while True:
            batch = await self._metadata.tags(repository, source, last, _BATCH)
            tags.extend(batch)
            if len(batch) < _BATCH:
                return tags
            last = batch[-1]

    async def _local_referrers(
        self, repository: RepositoryName, remote: Remote | None, subject: Digest
    ) -> dict[Digest, Descriptor]:
        found = {record.digest: describe(record) for record in await self._metadata.referrers(repository, subject)}
        if remote is None:
            return found
        held = [
            digest for digest in found if await self._metadata.manifest(repository, digest, remote.provenance) is None
        ]
        for digest in held:  # pushed, or from where the rule led before: not this upstream's
            del found[digest]
        return found

    async def _ask_referrers(self, remote: Remote, subject: Digest, *, retry: bool) -> tuple[Descriptor, ...]:
        try:
            return tuple(await self._upstreams.list_referrers(remote, subject, retry=retry))
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
            return await self._upstreams.once(key, ask), CacheStatus(forward=Forward.MISS, stored=True)
        ttl = self._upstreams.policy.listing_ttl.total_seconds()
        now = self._upstreams.clock.now()
        if not listing_is_due(kept, ttl, self._upstreams.retry_check_after(key), now):
            late = "recent-failure" if kept.failed_at > 0 else None
            return kept.document, CacheStatus(hit=True, stale=late)
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
            if kept is not None and error.failure is not UpstreamFailure.OFFLINE:
                await self._keep(wanted, replace(kept, failed_at=now()))
            raise
        await self._keep(wanted, Listing(document, now()))
        return document

    async def _keep(self, wanted: _List, listing: Listing) -> None:
        try:
            await self._metadata.keep_listing(wanted.repository, wanted.key, wanted.remote.provenance.source, listing)
        except StorageFullError as error:
            _log.warning("listing.not_kept", repository=wanted.repository, key=wanted.key, error=str(error))


def _encode_tags(remote: Remote, tags: Sequence[str]) -> bytes:
    good = sorted({tag for tag in tags if is_tag(tag)})
    if len(good) < len(set(tags)):
        _log.warning("listing.tags_refused", rule=remote.rule.prefix, repository=remote.repository)
    return msgspec.json.encode(good)
