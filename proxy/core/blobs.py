"""Blobs: from the store, or by a fill; only through a repository that was shown to hold them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from proxy.core.fills.transfer import closing
from proxy.core.negative import Asked
from proxy.core.ports import BlobReader, BlobStore, MetadataStore
from proxy.core.proofs import ProofService, Standing
from proxy.core.repositories import Creator
from proxy.core.routes import UpstreamRoute
from proxy.core.rules import Resolution
from proxy.core.sources import BlobRoute, BlobSource, TransferError
from proxy.core.stored import HeldBlob, StoredBlob, read_whole
from proxy.core.translation import Missing
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory, Start, WarmAnswers
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import Remote

_log = structlog.get_logger(__name__)

SMALL = 256 << 10
"""Bytes up to which a blob is held in memory."""

_HIT = CacheStatus(hit=True)

_PROMPT = 10.0
"""Seconds after which a client must have its headers rather than another question upstream (containerd waits 30)."""


class Filler(Protocol):
    """What fetches blobs: one fill for all who want the same digest."""

    async def open(self, digest: Digest, route: BlobRoute, *, size: int | None = None) -> BlobSource:
        """Return the blob, shared with whoever fetches it already, or fetched by `route`.

        `size` is what a descriptor says. Raises `UpstreamError` where no route can deliver a first byte.
        """


@dataclass(frozen=True, slots=True)
class BlobHead:
    """What HEAD tells about a blob."""

    size: int
    status: CacheStatus


class BlobService:
    """Answer for blobs. Every method raises `ProxyError` where there is nothing to answer with."""

    def __init__(
        self,
        metadata: MetadataStore,
        blobs: BlobStore,
        fills: Filler,
        upstreams: Upstreams,
        memory: ContentMemory,
        creator: Creator | None = None,
    ) -> None:
        """Let `creator` make the repositories of first pulls, or (None) the metadata.

        Small blobs are held in `memory`.
        """
        self._warm = WarmAnswers[None]("blob", metadata, memory)
        self._metadata = metadata
        self._blobs = blobs
        self._fills = fills
        self._upstreams = upstreams
        self._proofs = ProofService(metadata, blobs, upstreams, creator)

    async def head(self, resolution: Resolution, digest: Digest) -> BlobHead:
        """Return the size of the blob: from the store, from a descriptor, or by one HEAD upstream; never a fill."""
        remote = resolution.remote
        # Who pushes leaves away what it is told to be there: it is told what the disk says.
        known = None if resolution.takes_pushes else self._recall(resolution, digest)
        if known is not None:
            return BlobHead(len(known), _HIT)
        if remote is None:
            size = await self._blobs.stat(digest) if await self._is_hosted(resolution, digest) else None
            if size is None:
                raise _unknown(resolution, digest)
            return BlobHead(size, _HIT)
        try:
            return await self._head(resolution.repository, remote, digest)
        except UpstreamError as error:
            raise self._upstreams.answer(error, remote, Missing.BLOB) from error

    async def open(self, resolution: Resolution, digest: Digest) -> BlobSource:
        """Return the blob, open; the caller closes it."""
        known = self._recall(resolution, digest)
        if known is not None:
            return HeldBlob(known, _HIT)
        remote, start = resolution.remote, self._warm.start()
        if remote is None:
            reader = await self._reader(digest) if await self._is_hosted(resolution, digest) else None
            if reader is None:
                raise _unknown(resolution, digest)
            return await self._hold(resolution, digest, start, reader)
        try:
            return await self._open(resolution, remote, digest, start)
        except UpstreamError as error:
            raise self._upstreams.answer(error, remote, Missing.BLOB) from error

    async def _head(self, repository: RepositoryName, remote: Remote, digest: Digest) -> BlobHead:
        proven = await self._proofs.has(repository, remote, digest)
        size = await self._blobs.stat(digest) if proven else None
        if size is not None:
            return BlobHead(size, CacheStatus(hit=True))
        self._upstreams.require_permission(remote)  # as GET does, though the size may be known
        # Where clients push, their manifests may name what is not there: who were told that it is would not push it.
        named = None if remote.rule.push else await self._metadata.descriptor(repository, digest, remote.provenance)
        if named is not None and not named.urls:
            # Layers with urls are elsewhere: the registry that names them need not hold them.
            return BlobHead(named.size, CacheStatus(hit=True))
        recent = self._proofs.recent(remote, digest)
        if recent is not None:
            return BlobHead(recent, CacheStatus(hit=True))
        return BlobHead(await self._proofs.ask(repository, remote, digest), CacheStatus(forward=Forward.MISS))

    def _recall(self, resolution: Resolution, digest: Digest) -> bytes | None:
        found = self._warm.find(resolution, digest, self._upstreams.clock.now())
        return None if found is None else found[1]

    async def _hold(self, resolution: Resolution, digest: Digest, start: Start, reader: BlobReader) -> BlobSource:
        """Return a stored blob that the metadata alone let the repository serve; a small one stays in memory."""
        if reader.size > SMALL or not self._warm.on:
            return StoredBlob(reader, _HIT)
        try:
            raw = await read_whole(reader)
        except OSError:
            return StoredBlob(reader, _HIT)  # there it is read again, and what is wrong is told
        except BaseException:
            reader.close()
            raise
        reader.close()
        self._warm.keep(resolution, digest, start, None, (digest, raw))
        return HeldBlob(raw, _HIT)

    async def _open(self, resolution: Resolution, remote: Remote, digest: Digest, start: Start) -> BlobSource:
        repository = resolution.repository
        standing = await self._proofs.standing(repository, remote, digest)
        proven, status = standing is not Standing.UNKNOWN, _HIT
        if not proven and await self._blobs.stat(digest) is not None:
            await self._proofs.ask(repository, remote, digest)
            proven, status = True, CacheStatus(hit=True, forward=Forward.STALE)
        reader = await self._reader(digest) if proven else None
        if reader is None:
            return await self._fill(repository, remote, digest)
        if standing is Standing.KEPT:
            return await self._hold(resolution, digest, start, reader)
        try:
            await self._proofs.written(repository, remote, digest)
        except BaseException:
            reader.close()
            raise
        return StoredBlob(reader, status)

    async def _fill(self, repository: RepositoryName, remote: Remote, digest: Digest) -> BlobSource:
        self._upstreams.permit(remote, Asked.BLOB, str(digest))
        named = await self._metadata.descriptor(repository, digest, remote.provenance)
        size = named.size if named is not None else None
        begun = self._upstreams.clock.monotonic()
        source = await self._fills.open(digest, self.route(repository, remote, digest, size), size=size)
        try:
            # Whose way the bytes come by is not ours to know: by our own the proof is there by now; a fill that
            # others began, or that was finished meanwhile, says nothing about this upstream.
            proven = await self._proofs.has(repository, remote, digest)
            if not proven and self._upstreams.clock.monotonic() - begun < _PROMPT:
                await self._check(repository, remote, digest, source.total)
                proven = True
            # Who has the blob may go to another process for it at once, with the upstream gone since. Waited for here,
            # and not before the last byte: one more generator around the bytes costs a tenth of the throughput.
            await self._proofs.written(repository, remote, digest)
        except BaseException:
            source.close()
            raise
        return source if proven else _Unproven(source, self, repository, remote, digest)

    def route(self, repository: RepositoryName, remote: Remote, digest: Digest, size: int | None) -> UpstreamRoute:
        """Return the way to the blob; an answer of `size` bytes (None: of any size) proves that upstream holds it."""

        def shown(total: int) -> None:
            if size is None or total == size:
                self._proofs.shown(repository, remote, digest, total)

        def refused(error: UpstreamError) -> None:
            self._upstreams.refused(remote, Asked.BLOB, str(digest), error)

        return UpstreamRoute(self._upstreams.port, remote, digest, shown, refused)

    async def _check(self, repository: RepositoryName, remote: Remote, digest: Digest, total: int) -> None:
        if await self._proofs.ask(repository, remote, digest) != total:
            raise UpstreamError(
                UpstreamFailure.GARBAGE,
                f"{remote.rule.upstream} names another size for the blob than its {total} bytes",
            )

    async def settle(self) -> None:
        """Return once all proofs are written down; to be called at the end, when nobody is served any more."""
        await self._proofs.settle()

    async def prove(self, repository: RepositoryName, remote: Remote, digest: Digest, total: int) -> None:
        """Raise `UpstreamError` unless the upstream was shown, or shows now, to hold the blob."""
        if not await self._proofs.has(repository, remote, digest):
            await self._check(repository, remote, digest, total)

    async def _reader(self, digest: Digest) -> BlobReader | None:
        try:
            return await self._blobs.open(digest)
        except OSError as error:
            # The trouble may be this process's (no descriptors left) or the device's: it says nothing of the bytes.
            _log.error("blob.unreadable", digest=str(digest), error=str(error))
            raise ProxyError(ErrorCode.UNAVAILABLE, detail={"digest": str(digest)}) from error

    async def _is_hosted(self, resolution: Resolution, digest: Digest) -> bool:
        return await self._metadata.proven(resolution.repository, digest, None)


class _Unproven:
    """A blob whose client was promised headers while everything upstream was queued: the proof comes before a byte."""

    def __init__(
        self, source: BlobSource, blobs: BlobService, repository: RepositoryName, remote: Remote, digest: Digest
    ) -> None:
        self.total = source.total
        self.status = source.status
        self._source = source
        self._prove = partial(blobs.prove, repository, remote, digest, source.total)

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        try:
            await self._prove()
        except UpstreamError as error:
            raise TransferError(f"the upstream did not show to hold the blob: {error.message}") from error
        async with closing(self._source.stream(start, stop)) as stream:
            async for data in stream:
                yield data

    def at_rest(self) -> None:
        """Return None: nothing may be had before the proof."""

    def close(self) -> None:
        self._source.close()


def _unknown(resolution: Resolution, digest: Digest) -> ProxyError:
    return ProxyError(ErrorCode.BLOB_UNKNOWN, detail={"name": resolution.repository, "digest": str(digest)})
