"""The bytes of manifests: kept in the blob store, the most used ones in memory."""

import structlog

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
from proxy.core.stored import read_whole
from proxy.core.warm import ContentMemory
from proxy.model.digest import Digest
from proxy.model.manifest import Manifest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance

_log = structlog.get_logger(__name__)


class ManifestContents:
    """Keep and read manifests.

    Whoever reads must know from the metadata that the repository holds the manifest: the bytes themselves are shared
    by all repositories.
    """

    def __init__(
        self,
        metadata: Manifests,
        blobs: BlobStore,
        memory: ContentMemory,
        *,
        creator: Creator | None = None,
    ) -> None:
        """Hold the most used in `memory`. `creator` makes the repositories of first pulls, or (None) the metadata."""
        self._metadata = metadata
        self._creator = creator
        self._blobs = blobs
        self.memory = memory

    async def read(self, digest: Digest) -> bytes | None:
        """Return the bytes of a kept manifest, or None where they are lost or spoilt: the reason is in the log."""
        raw = self.memory.get(digest)
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
        self.memory.put(digest, raw)
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
            self.memory.put(fetched.digest, fetched.raw)
            stored = await self._blobs.stat(fetched.digest)
            if stored != len(fetched.raw):
                await self._store(fetched.digest, fetched.raw, stored)
            if self._creator is not None:
                await self._creator.ensure(repository, Scenario.PULL_THROUGH_CACHE)
            await self._metadata.remember(repository, record, manifest.children, provenance=provenance, tags=tags)
        except StorageFullError as error:
            _log.warning("manifest.not_kept", repository=repository, digest=str(fetched.digest), error=str(error))
            return False
        return True

    async def _load(self, digest: Digest) -> bytes | None:
        reader = await self._blobs.open(digest)
        if reader is None:
            return None
        try:
            return await read_whole(reader)
        finally:
            reader.close()

    async def store(self, digest: Digest, raw: bytes) -> None:
        """Store the bytes of a manifest; nobody sees them before the metadata says so. Raises `StorageFullError`.

        They are written also where they are stored: a file may be spoilt, or another process not yet through with it.
        """
        self.memory.put(digest, raw)
        await self._store(digest, raw, await self._blobs.stat(digest))

    async def _store(self, digest: Digest, raw: bytes, stored: int | None) -> None:
        """Write the bytes in the place of what is `stored`, of which this is the size."""
        if stored not in {None, len(raw)}:  # cut short, it would count as stored
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
