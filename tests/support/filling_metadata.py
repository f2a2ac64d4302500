"""Metadata on a disk that runs full when a test says so."""

from collections.abc import Sequence

from proxy.core.ports import (
    Listing,
    ManifestPush,
    ManifestRecord,
    RepositoryRecord,
    StorageFullError,
    TagRecord,
    TagWrite,
)
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from proxy.model.tag_policy import TagPolicy
from proxy.storage.metadata.memory import MemoryMetadataStore


class FillingMetadata(MemoryMetadataStore):
    """The `MetadataStore` port in memory; while `full`, what fills a disk fails and changes nothing."""

    full = False

    async def update_tag(self, repository: RepositoryName, record: TagRecord) -> None:
        self._check()
        await super().update_tag(repository, record)

    async def remember(
        self,
        repository: RepositoryName,
        manifest: ManifestRecord,
        children: Sequence[Descriptor],
        *,
        provenance: Provenance | None,
        tags: TagWrite | None,
    ) -> None:
        self._check()
        await super().remember(repository, manifest, children, provenance=provenance, tags=tags)

    async def create_repository(self, record: RepositoryRecord) -> bool:
        self._check()
        return await super().create_repository(record)

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy | None) -> bool:
        self._check()
        return await super().set_tag_policy(name, policy)

    async def push(self, repository: RepositoryName, push: ManifestPush, provenance: Provenance | None) -> None:
        self._check()
        await super().push(repository, push, provenance)

    async def delete_tag(self, repository: RepositoryName, tag: Tag, source: str | None = None) -> bool:
        self._check()
        return await super().delete_tag(repository, tag, source)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        self._check()
        return await super().delete_manifest(repository, digest)

    async def disprove(self, repository: RepositoryName, digest: Digest) -> bool:
        self._check()
        return await super().disprove(repository, digest)

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        self._check()
        return await super().prove(repository, digest, provenance, make=make)

    async def keep_listing(self, repository: RepositoryName, key: str, source: str, listing: Listing) -> None:
        self._check()
        await super().keep_listing(repository, key, source, listing)

    def _check(self) -> None:
        if self.full:
            raise StorageFullError("the disk is full")
