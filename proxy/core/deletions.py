"""Deleting what clients pushed or pulled through: links go at once, in one transaction; bytes are left to a sweep."""

import structlog

from proxy.core.admission import full
from proxy.core.manifests import ManifestService
from proxy.core.ports import MetadataStore, StorageFullError
from proxy.core.repositories import RepositoryService
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import Tag

_log = structlog.get_logger(__name__)


class DeletionService:
    """Delete. Every method raises `ProxyError` where there is nothing to delete, or nobody may.

    Whether a tag may be moved does not matter: who may delete frees the tag, as in ECR.
    """

    def __init__(self, metadata: MetadataStore, repositories: RepositoryService, manifests: ManifestService) -> None:
        self._metadata = metadata
        self._repositories = repositories
        self._manifests = manifests

    async def manifest(self, resolution: Resolution, reference: Tag | Digest) -> None:
        """Delete a tag, and nothing else; or by digest a manifest, with all tags that point to it."""
        self._repositories.require_writable(resolution)
        name = resolution.repository
        try:
            if isinstance(reference, Digest):
                known = await self._metadata.delete_manifest(name, reference)
            else:
                known = await self._metadata.delete_tag(name, reference)
        except StorageFullError as error:
            raise full(error) from error
        if not known:
            await self._repositories.require(name)
            raise ProxyError(ErrorCode.MANIFEST_UNKNOWN, detail={"name": name, "reference": str(reference)})
        # Else a tag that clients were told of a moment ago would be kept again with the manifest that they fetch.
        self._manifests.forget(name)
        _log.info("manifest.deleted", repository=name, reference=str(reference))

    async def blob(self, resolution: Resolution, digest: Digest) -> None:
        """Delete a blob from the repository; others that hold it go on."""
        self._repositories.require_writable(resolution)
        name = resolution.repository
        try:
            known = await self._metadata.disprove(name, digest)
        except StorageFullError as error:
            raise full(error) from error
        if not known:
            await self._repositories.require(name)
            raise ProxyError(ErrorCode.BLOB_UNKNOWN, detail={"name": name, "digest": str(digest)})
        _log.info("blob.deleted", repository=name, digest=str(digest))
