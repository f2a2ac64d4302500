"""The bytes of manifests: kept in the blob store, the most used ones in memory."""

import structlog
from cachetools import LRUCache

from proxy.core.ports import (
    BlobStore,
    FetchedManifest,
    ManifestRecord,
    Manifests,
    StorageFullError,
    TagWrite,
)
from proxy.core.registry.records import Scenario
from proxy.core.repositories import Creator
from proxy.model.digest import Digest
from proxy.model.manifest import Manifest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance

_log = structlog.get_logger(__name__)

_MEMORY = 32 << 20


class ManifestContents:
    """Keep and read manifests.

    Whoever reads must know from the metadata that the repository holds the manifest: the bytes themselves are shared
    by all repositories.
    """

    def __init__(
        self, metadata: Manifests, blobs: BlobStore, memory: int = _MEMORY, *, creator: Creator | None = None
    ) -> None:
        """Keep up to `memory` bytes at hand. `creator` makes the repositories of first pulls, else the metadata do."""
        self._metadata = metadata
        self._creator = creator
        self._blobs = blobs
        self._memory: LRUCache[Digest, bytes] = LRUCache(memory, getsizeof=len)

    async def read(self, digest: Digest) -> bytes | None:
        """Return the bytes of a kept manifest, or None where they are lost or spoilt: the reason is in the log."""
        raw = self._memory.get(digest)
        if raw is not None:
            return raw
        try:
            raw = await self._load(digest)
        except OSError as error:
            _log.error("manifest.unreadable", digest=str(digest), error=str(error))
            return None
        if raw is None:
            _log.error("manifest.missing", digest=str(digest))
            return None
        if Digest.of(raw, digest.algorithm) != digest:
            _log.error("manifest.corrupt", digest=str(digest))
            await self._blobs.delete(digest)
            return None
        self._remember(digest, raw)
        return raw

    async def keep(
        self,
        repository: RepositoryName,
        content: tuple[FetchedManifest, Manifest],
        provenance: Provenance,
        tags: TagWrite | None = None,
    ) -> bool:
        """Keep a fetched manifest, with `tags` that point to it, for `repository`.

        Return False where the store has no room: a pull goes on without being kept. Raises `TagKeptError`, and keeps
        nothing, where a tag may not move.
        """
        fetched, manifest = content
        record = record_of(fetched, manifest)
        try:
            self._remember(fetched.digest, fetched.raw)
            if await self._blobs.stat(fetched.digest) != len(fetched.raw):
                await self.store(fetched.digest, fetched.raw)
            if self._creator is not None:
                await self._creator.ensure(repository, Scenario.PULL_THROUGH_CACHE)
            await self._metadata.remember(repository, record, manifest.children, provenance=provenance, tags=tags)
        except StorageFullError as error:
            _log.warning("manifest.not_kept", repository=repository, digest=str(fetched.digest), error=str(error))
            return False
        return True

    def _remember(self, digest: Digest, raw: bytes) -> None:
        if len(raw) <= self._memory.maxsize:
            self._memory[digest] = raw

    async def _load(self, digest: Digest) -> bytes | None:
        reader = await self._blobs.open(digest)
        if reader is None:
            return None
        parts: list[bytes] = []
        size = 0
        try:
            while part := await reader.read(size, reader.size - size):
                parts.append(part)
                size += len(part)
        finally:
            reader.close()
        return b"".join(parts)

    async def store(self, digest: Digest, raw: bytes) -> None:
        """Store the bytes of a manifest; nobody sees them before the metadata says so. Raises `StorageFullError`.

        They are written also where they are stored: a file may be spoilt, or another process not yet through with it.
        """
        self._remember(digest, raw)
        if await self._blobs.stat(digest) not in {None, len(raw)}:  # cut short, it would count as stored
            await self._blobs.delete(digest)
        async with self._blobs.writer(digest) as writer:
            await writer.write(raw)
            await writer.commit()


def record_of(fetched: FetchedManifest, manifest: Manifest) -> ManifestRecord:
    """Return what is kept of a manifest beside its bytes."""
    return ManifestRecord(
        fetched.digest,
        fetched.media_type,
        len(fetched.raw),
        manifest.artifact_type,
        manifest.subject.digest if manifest.subject is not None else None,
        tuple(manifest.annotations.items()),
    )
