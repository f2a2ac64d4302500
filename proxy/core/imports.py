"""Blobs that a pushed manifest names and only the upstream of its repository holds.

A client that pushes below a rule asks by HEAD what need not be sent, and is told of what the upstream holds. Its
manifest then names blobs that nobody has sent: they are fetched, so that a pushed image never depends on the upstream.
"""

import structlog

from proxy.core.blobs import BlobService
from proxy.core.fills.transfer import closing
from proxy.core.ports import Proofs
from proxy.core.rules import Resolution
from proxy.core.sources import TransferError
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError

_log = structlog.get_logger(__name__)


class BlobImporter:
    """Make blobs of an upstream repository as good as uploaded."""

    def __init__(self, blobs: BlobService, proofs: Proofs) -> None:
        self._blobs = blobs
        self._proofs = proofs

    async def bring(self, resolution: Resolution, digest: Digest) -> bool:
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
