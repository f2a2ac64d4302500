"""Content that a pushed manifest names and only the upstream of its repository holds.

A client that pushes below a rule asks by HEAD what need not be sent, and is told of what the upstream holds. Its
manifest then names content that nobody has sent: it is fetched, so that what a pushed image consists of is here.
"""

import structlog

from proxy.core.blobs import BlobService
from proxy.core.fills.transfer import closing
from proxy.core.manifests import ManifestService
from proxy.core.ports import Proofs
from proxy.core.rules import Resolution
from proxy.core.sources import TransferError
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError

_log = structlog.get_logger(__name__)


class Importer:
    """Make content of an upstream repository as good as pushed."""

    def __init__(self, blobs: BlobService, manifests: ManifestService, proofs: Proofs) -> None:
        self._blobs = blobs
        self._manifests = manifests
        self._proofs = proofs

    async def bring_manifest(self, resolution: Resolution, digest: Digest) -> bool:
        """Fetch a manifest, unless it is stored; False where the upstream cannot show it. What it names stays there."""
        try:
            await self._manifests.get(resolution, digest)
        except ProxyError as error:
            _log.info(
                "manifest.not_imported", repository=resolution.repository, digest=str(digest), reason=error.message
            )
            return False
        return True

    async def bring_blob(self, resolution: Resolution, digest: Digest) -> bool:
        """Fetch a blob, unless it is stored, and prove it in the repository; False where the upstream cannot show it.

        Raises `StorageFullError` where the proof cannot be kept.
        """
        try:
            source = await self._blobs.open(resolution, digest)
        except ProxyError as error:
            _log.info("blob.not_imported", repository=resolution.repository, digest=str(digest), reason=error.message)
            return False
        try:
            async with closing(source.stream(0, source.total)) as stream:
                async for _ in stream:
                    pass  # what is read is on its way into the store, and verified before its last byte is given
        except TransferError as error:
            _log.info("blob.not_imported", repository=resolution.repository, digest=str(digest), reason=str(error))
            return False
        finally:
            source.close()
        await self._proofs.prove(resolution.repository, digest, None)
        return True
