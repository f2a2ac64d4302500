"""Layers as ECR's own client sends and fetches them: checked, uploaded in parts, and handed out by their URL."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from proxy.core.blobs import BlobService
from proxy.core.ports import BlobStore
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.locator import RepositoryLocator
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.refusals import blaming_upstream, digest_given
from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk, UploadRangeError, UploadService, UploadStatus
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.chunk import ChunkRange
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance

PART_SIZE: Final = 10 << 20
"""Bytes that clients are told to send as one part, as ECR tells them."""

_LEAST: Final = 5 << 20
"""ECR's least size of a part, but for the last one."""

_REMEMBERED: Final = 10_000
"""Uploads of which it is remembered where their parts were small."""


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """What is known of a layer: `size` is None where the repository does not hold it."""

    digest: Digest
    size: int | None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class LayerFailure:
    """A text that names no layer, and why; `code` is ECR's."""

    digest: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a layer and where it belongs: its first and its last byte."""

    first: int
    last: int
    data: bytes


class LayerAdministration:
    """Take and find layers for callers of the API, who must have made the repository.

    Every method raises `ApiError`, and `ProxyError` for the rest. An upload belongs to the principal that began it.
    """

    def __init__(
        self,
        store: RegistryStore,
        locator: RepositoryLocator,
        uploads: UploadService,
        blobs: BlobService,
        contents: BlobStore,
        identity: RegistryIdentity,
    ) -> None:
        self._store = store
        self._locator = locator
        self._uploads = uploads
        self._blobs = blobs
        self._contents = contents
        self._identity = identity
        # By upload: where its first small part ended. In this process only, so a part that another one took may pass.
        self._small: LRUCache[str, int] = LRUCache(_REMEMBERED)

    async def check(self, name: RepositoryName, digests: Iterable[str]) -> tuple[list[LayerCheck], list[LayerFailure]]:
        """Return which layers the repository holds, so that a client need not send them. No upstream is asked."""
        resolution = await self._locator.require(name)
        found: list[LayerCheck] = []
        failures: list[LayerFailure] = []
        for text in dict.fromkeys(digests):
            if not text:
                reason = "Invalid request parameters: layer digest cannot be null"
                failures.append(LayerFailure(text, "MissingLayerDigest", reason))
                continue
            try:
                digest = Digest.parse(text)
            except ProxyError as error:
                reason = f"Invalid request parameters: {error.message}"
                failures.append(LayerFailure(text, "InvalidLayerDigest", reason))
                continue
            size = await self._held(resolution, digest)
            named = await self._descriptor(resolution, digest) if size is not None else None
            found.append(LayerCheck(digest, size, named.media_type if named is not None else None))
        return found, failures

    async def initiate(self, name: RepositoryName, principal: Principal) -> str:
        """Begin an upload and return its id."""
        resolution = await self._locator.require(name)
        with self._translating(name):
            return (await self._uploads.begin(resolution, principal)).id

    async def upload(self, name: RepositoryName, principal: Principal, upload: str, part: Part) -> int:
        """Write a part, which must begin where the upload ends; return the position of its last byte."""
        resolution, upload = await self._locator.require(name), upload.lower()
        with self._translating(name, upload):
            status = await self._uploads.status(resolution, principal, upload)
        if part.last - part.first + 1 != len(part.data) or not part.data:
            told = f"it is from byte {part.first} to {part.last}, and has {len(part.data)} bytes"
            raise self._misfit(name, status, f"The layer part does not have the size it says: {told}")
        chunk = Chunk(_pieces(part.data), ChunkRange(part.first, part.last), len(part.data))
        with self._translating(name, upload):
            reached = await self._uploads.append(resolution, principal, upload, chunk)
        if len(part.data) < _LEAST:
            self._small.setdefault(upload, reached.size)
        return reached.size - 1

    async def complete(self, name: RepositoryName, principal: Principal, upload: str, digests: Iterable[str]) -> Digest:
        """Make the upload the layer of the digest given, and return that."""
        resolution, upload = await self._locator.require(name), upload.lower()
        digest = _one(digests)
        with self._translating(name, upload):
            status = await self._uploads.status(resolution, principal, upload)
            if not status.size:
                raise ApiError(ApiErrorCode.EmptyUploadException)
            # Only ECR itself minds: nothing here is gained by large parts.
            if self._identity.ecr and self._small.get(upload, status.size) < status.size:
                raise ApiError(ApiErrorCode.LayerPartTooSmallException)
            if await self._held(resolution, digest) is not None:
                await self._uploads.cancel(resolution, principal, upload)
                raise ApiError(
                    ApiErrorCode.LayerAlreadyExistsException,
                    f"Layer with digest '{digest}' already exists in the repository with name '{name}' in the registry "
                    f"with id '{self._identity.account}'",
                )
            await self._uploads.finish(resolution, principal, upload, digest, Chunk(_pieces(), length=0))
        self._small.pop(upload, None)
        return digest

    async def locate(self, name: RepositoryName, text: str, *, may_fetch: bool = True) -> tuple[RepositoryName, Digest]:
        """Return the repository and the digest by which a layer can be downloaded at once.

        In a cache repository it may be its upstream's still: UnableToGetUpstreamLayerException where that fails, or
        unless the caller may have it fetched (`may_fetch`).
        """
        resolution = await self._locator.reach(name, may_fetch=may_fetch)
        digest = digest_given("layerDigest", text)
        if resolution.refusal is not None:
            raise ApiError(ApiErrorCode.LayerInaccessibleException, resolution.refusal)
        with blaming_upstream(resolution, ApiErrorCode.UnableToGetUpstreamLayerException):
            try:
                await self._blobs.head(resolution, digest)
            except ProxyError as error:
                if error.code not in {ErrorCode.BLOB_UNKNOWN, ErrorCode.NAME_UNKNOWN}:
                    raise
                await self._locator.require(name)
                raise ApiError(
                    ApiErrorCode.LayersNotFoundException,
                    f"Layers with digests '[{digest}]' do not exist in the repository with name '{name}' in the "
                    f"registry with id '{self._identity.account}'",
                ) from error
        if self._identity.ecr and await self._descriptor(resolution, digest) is None:
            raise ApiError(ApiErrorCode.LayerInaccessibleException, f"No image refers to the layer '{digest}'")
        return resolution.repository, digest

    async def _held(self, resolution: Resolution, digest: Digest) -> int | None:
        """Return the size of a blob that a manifest pushed to the repository may name, or None."""
        if not await self._store.proven(resolution.repository, digest, _provenance(resolution)):
            return None
        return await self._contents.stat(digest)

    async def _descriptor(self, resolution: Resolution, digest: Digest) -> Descriptor | None:
        return await self._store.descriptor(resolution.repository, digest, _provenance(resolution))

    def _misfit(self, name: RepositoryName, status: UploadStatus, sentence: str) -> ApiError:
        return ApiError(
            ApiErrorCode.InvalidLayerPartException,
            sentence,
            members={
                "registryId": self._identity.account,
                "repositoryName": name,
                "uploadId": status.record.id,
                "lastValidByteReceived": max(status.size - 1, 0),
            },
        )

    @contextmanager
    def _translating(self, name: RepositoryName, upload: str = "") -> Iterator[None]:
        try:
            yield
        except UploadRangeError as error:
            raise self._misfit(name, error.status, f"The layer part does not fit: {error.message}") from error
        except ProxyError as error:
            match error.code:
                case ErrorCode.BLOB_UPLOAD_UNKNOWN:
                    raise ApiError(
                        ApiErrorCode.UploadNotFoundException,
                        f"Upload with id '{upload}' does not exist in the repository with name '{name}' in the "
                        f"registry with id '{self._identity.account}'",
                    ) from error
                case ErrorCode.NAME_UNKNOWN:
                    raise self._identity.unknown(name) from error
                case ErrorCode.DIGEST_INVALID:
                    raise ApiError(ApiErrorCode.InvalidLayerException) from error
                case _:
                    raise


def _provenance(resolution: Resolution) -> Provenance | None:
    return resolution.remote.provenance if resolution.remote is not None else None


def _one(digests: Iterable[str]) -> Digest:
    given = {digest_given("layerDigests", text) for text in digests}
    if len(given) != 1:
        raise invalid("layerDigests", "an upload is one layer: give its digest, and no other")
    return given.pop()


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
