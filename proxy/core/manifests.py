"""Manifests by tag and by digest, hosted here or pulled through."""

import asyncio
from dataclasses import replace

import msgspec
import structlog

from proxy.core.contents import ManifestContents
from proxy.core.freshness import ALWAYS, Span
from proxy.core.negative import Asked
from proxy.core.ports import FetchedManifest, MetadataStore, TagKeptError
from proxy.core.rules import Resolution
from proxy.core.tags import Found, TagService, write_as_upstream
from proxy.core.translation import Missing
from proxy.core.upstreams import Upstreams
from proxy.core.warm import Start, WarmAnswers
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError
from proxy.model.manifest import Manifest, parse_manifest
from proxy.model.media_types import IMAGES, INDEXES
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, Remote

_log = structlog.get_logger(__name__)

_HIT = CacheStatus(hit=True)


class ManifestAnswer(msgspec.Struct, frozen=True, gc=False):
    """A manifest for a client.

    `raw` are its bytes exactly as they were pushed or sent; None where only HEAD was asked. `digest` is in the
    algorithm that the client asked for; for a tag it is sha256, unless the tag was pushed beside another digest.
    `warning` says, in plain text, why the copy may be old.
    """

    raw: bytes | None
    media_type: str
    digest: Digest
    size: int
    status: CacheStatus
    warning: str | None = None


class ManifestService:
    """Answer for manifests. Every method raises `ProxyError` where there is nothing to answer with."""

    def __init__(
        self,
        metadata: MetadataStore,
        contents: ManifestContents,
        upstreams: Upstreams,
    ) -> None:
        """Keep answers about what lies in the memory of `contents`."""
        self._warm = WarmAnswers[ManifestAnswer]("manifest", metadata, contents.memory)
        self._metadata = metadata
        self._contents = contents
        self._upstreams = upstreams
        self._tags = TagService(metadata, contents, upstreams)

    async def get(self, resolution: Resolution, reference: Tag | Digest) -> ManifestAnswer:
        """Return the manifest with its bytes. By digest, the upstream is not asked once it is kept."""
        known = self._recall(resolution, reference)
        if known is not None:
            return known
        if isinstance(reference, Digest):
            return await self._get_digest(resolution, reference)
        start = self._warm.start()
        return await self._resolve(resolution, start, await self._tags.find(resolution, reference))

    async def head(self, resolution: Resolution, reference: Tag | Digest) -> ManifestAnswer:
        """Return the manifest, without its bytes unless they are at hand; what is not kept is not fetched."""
        known = self._recall(resolution, reference)
        if known is not None:
            return known
        if isinstance(reference, Digest):
            return await self._head_digest(resolution, reference)
        start = self._warm.start()
        found = await self._tags.find(resolution, reference, head=True)
        if found.size is not None:
            record = found.record
            return ManifestAnswer(None, record.media_type, record.digest, found.size, found.status, found.warning)
        return await self._resolve(resolution, start, found)

    async def refresh(self, resolution: Resolution, reference: Tag | Digest) -> ManifestAnswer:
        """Check a tag now, however fresh it is, and return what it means then; a digest has nothing to check."""
        if isinstance(reference, Digest):
            return await self._get_digest(resolution, reference)
        return await self._complete(resolution, await self._tags.find(resolution, reference, forced=True))

    async def purge(self, resolution: Resolution, reference: Tag | Digest | None) -> bool:
        """Drop a cached tag, manifest or (None) whole repository; tell whether there was one.

        Raises `ProxyError` UNSUPPORTED for content that is hosted or was pushed: it could not be pulled again.
        """
        repository = resolution.repository
        if resolution.remote is None:
            raise ProxyError(
                ErrorCode.UNSUPPORTED,
                f"{repository} is hosted here, not cached: purging it would lose it; delete it instead",
            )
        await self._spare_pushed(repository, reference)
        self.forget(repository)
        _log.info("cache.purged", repository=repository, reference=str(reference) if reference else None)
        if reference is None:
            return await self._metadata.delete_repository(repository)
        if isinstance(reference, Digest):
            return await self._metadata.delete_manifest(repository, reference)
        return await self._metadata.delete_tag(repository, reference)

    async def _spare_pushed(self, repository: RepositoryName, reference: Tag | Digest | None) -> None:
        if isinstance(reference, Digest):
            return
        if reference is None:
            pushed = await self._metadata.tags(repository, (UPLOADED,), "", 1)
        else:
            kept = await self._metadata.tag(repository, reference)
            pushed = [kept.tag] if kept is not None and kept.source == UPLOADED else []
        if pushed:
            raise ProxyError(
                ErrorCode.UNSUPPORTED,
                f"{repository}:{pushed[0]} was pushed here, not cached: purging it would lose it; delete it instead",
            )

    async def keep_told(self) -> None:
        """Keep the tags whose digests clients were told here, and fetched through another process; see `TagService`."""
        await self._tags.keep_told()

    def forget(self, repository: RepositoryName) -> None:
        """Drop what is in memory about a repository's tags: somebody wrote to it, or deleted from it."""
        self._tags.forget(repository)

    def _recall(self, resolution: Resolution, reference: Tag | Digest) -> ManifestAnswer | None:
        found = self._warm.find(resolution, reference, self._upstreams.clock.now())
        if found is None:
            return None
        kept, raw = found
        return ManifestAnswer(raw, kept.media_type, kept.digest, kept.size, kept.status)

    def _remember(
        self, resolution: Resolution, reference: Tag | Digest, start: Start, answer: ManifestAnswer, span: Span
    ) -> None:
        """Give the answer again from memory, if it is a plain hit: its bytes are there, and nothing was to be said."""
        if answer.raw is not None and answer.status == _HIT and answer.warning is None:
            bare = msgspec.structs.replace(answer, raw=None)
            self._warm.keep(resolution, reference, start, bare, (answer.digest, answer.raw), span)

    async def _resolve(self, resolution: Resolution, start: Start, found: Found) -> ManifestAnswer:
        answer = await self._complete(resolution, found)
        if found.span is not None:
            self._remember(resolution, found.record.tag, start, answer, found.span)
        return answer

    async def _complete(self, resolution: Resolution, found: Found) -> ManifestAnswer:
        """Return the manifest that a tag means, with its bytes."""
        record = found.record
        raw = found.raw if found.raw is not None else await self._contents.read(record.digest)
        if raw is None:
            # The file is lost. Who pulled it through can have it again; who hosts it cannot.
            again = await self._fetch(resolution, record.digest)
            status = replace(again.status, stale=found.status.stale)
            return msgspec.structs.replace(again, warning=found.warning, status=status)
        return ManifestAnswer(raw, record.media_type, record.digest, len(raw), found.status, found.warning)

    async def _get_digest(self, resolution: Resolution, digest: Digest) -> ManifestAnswer:
        landed = self._upstreams.landed
        kept = await self._kept(resolution, digest)
        return kept if kept is not None else await self._fetch(resolution, digest, landed)

    async def _kept(self, resolution: Resolution, digest: Digest) -> ManifestAnswer | None:
        start = self._warm.start()
        # Proof before bytes: that the bytes are stored does not say that this repository's upstream has them.
        provenance = resolution.remote.provenance if resolution.remote is not None else None
        record, own = await asyncio.gather(
            self._metadata.manifest(resolution.repository, digest, provenance),
            self._metadata.manifest(resolution.repository, digest, None),
        )
        raw = await self._contents.read(digest) if record is not None else None
        if record is None or raw is None:
            return None
        if own is None and resolution.remote is not None:
            # It came through another repository with this source and account. This one is to have it for good, as it
            # serves it: also when no rule leads to that source any more.
            content = FetchedManifest(raw, record.media_type, digest), parse_manifest(raw, record.media_type)
            await self._keep(resolution, resolution.remote, content)
        answer = ManifestAnswer(raw, record.media_type, digest, len(raw), _HIT)
        if own is not None:
            self._remember(resolution, digest, start, answer, ALWAYS)
        return answer

    async def _head_digest(self, resolution: Resolution, digest: Digest) -> ManifestAnswer:
        kept = await self._kept(resolution, digest)
        remote = resolution.remote
        if kept is not None or remote is None:
            return kept or await self._fetch(resolution, digest)
        if not remote.may_fetch:
            return await self._fetch(resolution, digest)  # refused, as GET is, though the size may be known
        # Where clients push, their indexes may name what is not there: who were told that it is would not push it.
        named = (
            await self._metadata.descriptor(resolution.repository, digest, remote.provenance)
            if not remote.rule.push
            else None
        )
        if named is not None and named.media_type in INDEXES | IMAGES:
            return ManifestAnswer(None, named.media_type, digest, named.size, CacheStatus(hit=True))
        try:
            head = await self._upstreams.head_manifest(remote, digest, retry=True)
        except UpstreamError as error:
            raise self._upstreams.answer(error, remote, Missing.MANIFEST) from error
        if head.size is None or head.digest not in {None, digest}:
            # The bytes tell the length, and whether they are the content of this digest.
            return await self._fetch(resolution, digest)
        return ManifestAnswer(None, head.media_type, digest, head.size, CacheStatus(forward=Forward.MISS))

    async def _fetch(self, resolution: Resolution, digest: Digest, landed: int | None = None) -> ManifestAnswer:
        """Fetch a manifest that was not there when `landed` shared calls had ended."""
        remote, repository = resolution.remote, resolution.repository
        if remote is None:
            raise ProxyError(ErrorCode.MANIFEST_UNKNOWN, detail={"name": repository, "digest": str(digest)})

        async def fetch() -> ManifestAnswer:
            return await self._pull(resolution, remote, digest)

        key = ("manifest", repository, remote.rule.prefix, remote.provenance, digest)
        while landed is not None and self._upstreams.has_landed(key, landed):
            landed = self._upstreams.landed
            kept = await self._kept(resolution, digest)
            if kept is not None:
                return kept
        try:
            self._upstreams.require_permission(remote)
            return await self._upstreams.once(key, fetch)
        except UpstreamError as error:
            raise self._upstreams.answer(error, remote, Missing.MANIFEST) from error

    async def _pull(self, resolution: Resolution, remote: Remote, digest: Digest) -> ManifestAnswer:
        content = await self._upstreams.get_manifest(remote, digest, retry=True)
        fetched = content[0]
        kept = await self._keep(resolution, remote, content)
        self._upstreams.forget(remote, Asked.MANIFEST, str(digest))
        status = CacheStatus(forward=Forward.MISS, stored=kept, bypass=not kept)
        return ManifestAnswer(fetched.raw, fetched.media_type, digest, len(fetched.raw), status)

    async def _keep(self, resolution: Resolution, remote: Remote, content: tuple[FetchedManifest, Manifest]) -> bool:
        """Keep a manifest fetched by digest, with the tags that clients were told to mean it, where these may move."""
        repository = resolution.repository
        tags = self._tags.awaited(repository, remote, content[0].digest)
        while True:
            try:
                write = write_as_upstream(tags, resolution.tag_policy, resolution.sources or ())
                return await self._contents.keep(repository, content, remote.provenance, write)
            except TagKeptError as error:
                tags = tuple(tag for tag in tags if tag.tag != error.record.tag)
