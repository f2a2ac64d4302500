"""Metadata on a disk that runs full when a test says so."""

from collections.abc import Sequence

from proxy.core.ports import Listing, ManifestRecord, StorageFullError, TagRecord
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance
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
        tag: TagRecord | None,
    ) -> None:
        self._check()
        await super().remember(repository, manifest, children, provenance=provenance, tag=tag)

    async def prove(self, repository: RepositoryName, digest: Digest, provenance: Provenance | None) -> None:
        self._check()
        await super().prove(repository, digest, provenance)

    async def keep_listing(self, repository: RepositoryName, key: str, source: str, listing: Listing) -> None:
        self._check()
        await super().keep_listing(repository, key, source, listing)

    def _check(self) -> None:
        if self.full:
            raise StorageFullError("the disk is full")
