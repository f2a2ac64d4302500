"""Blobs that clients push: in one request, in chunks over many, or mounted from another repository."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog

from proxy.config.settings import UploadSettings
from proxy.core.admission import Admission, accounted, full
from proxy.core.intake import Intake
from proxy.core.ports import BlobStore, DigestMismatchError, MetadataStore, StorageFullError
from proxy.core.repeating import repeat
from proxy.core.repositories import RepositoryService
from proxy.core.rules import Address, Resolution, RuleBook
from proxy.core.upload_ports import OpenUpload, UploadBusyError, UploadRecord, UploadStore, UploadUnknownError
from proxy.model.chunk import ChunkRange
from proxy.model.digest import ALGORITHMS, Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.model.reference import parse_repository
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_HOLDERS = 32
"""Repositories that are tried for a mount that names none."""

_SHOWN = 100

Readable = Callable[[Resolution], Awaitable[bool]]
"""Tells of a repository whether its content may be pulled by who wants it mounted elsewhere."""


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """An upload and how many bytes of it are stored."""

    record: UploadRecord
    size: int


class UploadRangeError(ProxyError):
    """A chunk was refused (BLOB_UPLOAD_INVALID); `status` tells where to go on: clients want Location and Range."""

    def __init__(self, message: str, status: UploadStatus) -> None:
        """Keep what the client is to be told."""
        super().__init__(ErrorCode.BLOB_UPLOAD_INVALID, message, detail={"size": status.size})
        self.status = status


@dataclass(frozen=True, slots=True)
class Chunk:
    """The body of a request: `data` in pieces of any size, to its end, or raising where it breaks off.

    `span` is where the client says that it belongs (Content-Range), `length` how many bytes it announced
    (Content-Length); None where it did not say.
    """

    data: AsyncIterator[bytes]
    span: ChunkRange | None = None
    length: int | None = None


class UploadService:
    """Take blobs. Methods raise `ProxyError`; memory is that of one batch a request.

    An upload belongs to the repository and the principal that began it; for all others there is none. Stored content
    is durable, and the repository holds it, when `finish`, `whole` or `mount` returns.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands in each part
        self,
        uploads: UploadStore,
        blobs: BlobStore,
        metadata: MetadataStore,
        rules: RuleBook,
        repositories: RepositoryService,
        admission: Admission,
        settings: UploadSettings,
        metrics: Metrics,
    ) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._metadata = metadata
        self._rules = rules
        self._repositories = repositories
        self._admission = admission
        self._intake = Intake(admission, metrics)
        self._settings = settings
        self._metrics = metrics

    async def begin(self, resolution: Resolution, principal: Principal, algorithm: str = "sha256") -> UploadRecord:
        """Begin an upload, with no bytes. `algorithm` is that of the digest which the client means to give."""
        self._repositories.require_writable(resolution)
        if algorithm not in ALGORITHMS:
            known = " or ".join(sorted(ALGORITHMS))
            raise ProxyError(
                ErrorCode.DIGEST_INVALID,
                f"digests have the algorithm {known}",
                detail={"algorithm": algorithm[:100]},
            )
        record = UploadRecord(str(uuid4()), resolution.repository, principal, algorithm)
        with accounted(self._metrics, "blob"):
            await self._repositories.ensure(resolution)
            await self._admission.require()
            await self._uploads.begin(record)
        return record

    async def mount(self, resolution: Resolution, digest: Digest, source: str | None, readable: Readable) -> bool:
        """Let the repository hold a blob that another one holds; tell whether it does now.

        `source` is the repository that the client names, however spelled; None: any. `readable` tells from which ones
        the client may pull. Whatever is wrong with a source, the client is not told: it pushes the blob then.
        """
        self._repositories.require_writable(resolution)
        with accounted(self._metrics, "blob"):
            await self._repositories.ensure(resolution)
            name = await self._holder(digest, source, readable)
            if name is None:
                return False
            await self._metadata.prove(resolution.repository, digest, None)
        self._metrics.pushes.labels("blob", "mounted").inc()
        _log.info("blob.mounted", repository=resolution.repository, digest=str(digest), source=name)
        return True

    async def status(self, resolution: Resolution, principal: Principal, upload: str) -> UploadStatus:
        """Return how far the upload is, also while another request writes to it."""
        found = await self._uploads.find(upload) if _is_id(upload) else None
        # Whose upload it is, and where, stays untold: to all others it is one that never was.
        if found is None or (found[0].repository, found[0].principal) != (resolution.repository, principal):
            raise _unknown(resolution, upload)
        return UploadStatus(*found)

    async def append(self, resolution: Resolution, principal: Principal, upload: str, chunk: Chunk) -> UploadStatus:
        """Write a chunk at the end of the upload.

        Raises `UploadRangeError`, and keeps nothing of it, where the chunk belongs elsewhere or is not as long as it
        says, and where another request writes. Of a body that breaks off, what came stays.
        """
        self._repositories.require_writable(resolution)
        with accounted(self._metrics, "blob"):
            async with self._opened(resolution, principal, upload) as opened:
                await self._take(opened, chunk)
                return UploadStatus(opened.record, opened.size)

    async def finish(
        self, resolution: Resolution, principal: Principal, upload: str, digest: Digest, chunk: Chunk
    ) -> None:
        """Write the last chunk, which may be empty, as `append` does, and make the upload the blob of that digest.

        Raises DIGEST_INVALID, and keeps nothing, where the bytes are others: the upload is over then, too.
        """
        self._repositories.require_writable(resolution)
        with accounted(self._metrics, "blob"):
            async with self._opened(resolution, principal, upload) as opened:
                # It may have been deleted since the upload began.
                await self._repositories.ensure(resolution)
                await self._take(opened, chunk)
                try:
                    await opened.commit(digest)
                except DigestMismatchError as error:
                    raise _mismatch(resolution, digest) from error
            await self._prove(resolution, digest)

    async def whole(self, resolution: Resolution, digest: Digest, chunk: Chunk) -> None:
        """Take a whole blob in one request; of a body that breaks off, or is of another digest, nothing stays."""
        self._repositories.require_writable(resolution)
        with accounted(self._metrics, "blob"):
            await self._repositories.ensure(resolution)
            # Also where the bytes are stored: who pushes shows to have them, or could read what others pushed.
            async with self._blobs.writer(digest) as writer:
                await self._intake.take(chunk.data, writer.write, length=chunk.length)
                try:
                    await writer.commit()
                except DigestMismatchError as error:
                    raise _mismatch(resolution, digest) from error
            await self._prove(resolution, digest)

    async def cancel(self, resolution: Resolution, principal: Principal, upload: str) -> None:
        """End the upload and drop its bytes."""
        self._repositories.require_writable(resolution)
        await self.status(resolution, principal, upload)
        try:
            known = await self._uploads.remove(upload)
        except StorageFullError as error:
            raise full(error) from error
        if not known:
            raise _unknown(resolution, upload)

    async def expire(self) -> int:
        """Remove the uploads that got no byte for too long; return how many there were."""
        expired = await self._uploads.expire(self._settings.expire_after.total_seconds())
        for record in expired:
            self._metrics.uploads_expired.inc()
            _log.info("upload.expired", repository=record.repository, upload=record.id)
        return len(expired)

    async def sweep(self) -> None:
        """Expire uploads again and again; never returns."""
        await repeat(self.expire, self._settings.sweep_interval.total_seconds(), failed="uploads.not_swept")

    @asynccontextmanager
    async def _opened(self, resolution: Resolution, principal: Principal, upload: str) -> AsyncIterator[OpenUpload]:
        # Before it is taken: nobody may keep others from their uploads.
        await self.status(resolution, principal, upload)
        try:
            async with self._uploads.open(upload) as opened:
                yield opened
        except UploadUnknownError as error:
            raise _unknown(resolution, upload) from error
        except UploadBusyError as error:
            status = await self.status(resolution, principal, upload)
            raise UploadRangeError("another request is writing to this upload", status) from error

    async def _take(self, opened: OpenUpload, chunk: Chunk) -> None:
        """Append the chunk, or refuse it."""
        span, begin = chunk.span, opened.size
        if span is None:
            await self._intake.take(chunk.data, opened.append, length=chunk.length)
            return
        if span.first != begin:
            raise _refused(opened, f"the chunk begins at byte {span.first}, and the upload has {begin} bytes")
        if chunk.length not in {None, span.length}:
            raise _refused(opened, f"Content-Range says {span.length} bytes, and Content-Length {chunk.length}")
        received = await self._intake.take(chunk.data, opened.append, length=span.length, most=span.length)
        if received != span.length:
            await opened.truncate(begin)
            found = "more" if received > span.length else str(received)
            raise _refused(opened, f"Content-Range says {span.length} bytes, and the body has {found}")

    async def _prove(self, resolution: Resolution, digest: Digest) -> None:
        # It may have been deleted while the bytes came, which takes long.
        await self._repositories.ensure(resolution)
        await self._metadata.prove(resolution.repository, digest, None)
        self._metrics.pushes.labels("blob", "stored").inc()
        _log.info("blob.pushed", repository=resolution.repository, digest=str(digest))

    async def _holder(self, digest: Digest, source: str | None, readable: Readable) -> str | None:
        """Return a repository from which the blob may be mounted, or None."""
        if await self._blobs.stat(digest) is None:
            return None
        if source is not None:
            return source if await self._holds(source, digest, readable) else None
        for name in await self._metadata.holders(digest, _HOLDERS):
            if await self._holds(name, digest, readable):
                return name
        return None

    async def _holds(self, name: str, digest: Digest, readable: Readable) -> bool:
        try:
            found = self._rules.current.resolve(Address(parse_repository(name)))
        except ProxyError:  # malformed, unknown, or kept from being pulled: what cannot be pulled is not mounted
            return False
        if not await readable(found):
            return False
        provenance = found.remote.provenance if found.remote is not None else None
        return await self._metadata.proven(found.repository, digest, provenance)


def _is_id(upload: str) -> bool:
    try:
        return str(UUID(upload)) == upload
    except ValueError:
        return False


def _unknown(resolution: Resolution, upload: str) -> ProxyError:
    return ProxyError(ErrorCode.BLOB_UPLOAD_UNKNOWN, detail={"name": resolution.repository, "upload": upload[:_SHOWN]})


def _mismatch(resolution: Resolution, digest: Digest) -> ProxyError:
    return ProxyError(
        ErrorCode.DIGEST_INVALID,
        "the bytes that were pushed are not those of the digest: nothing is kept, push the blob again",
        detail={"name": resolution.repository, "digest": str(digest)},
    )


def _refused(opened: OpenUpload, message: str) -> UploadRangeError:
    return UploadRangeError(message, UploadStatus(opened.record, opened.size))
