"""Manifests that clients push, by tag or by digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from proxy.core.admission import Admission, accounted
from proxy.core.contents import ManifestContents, record_of
from proxy.core.imports import Importer
from proxy.core.offloading import Offloader
from proxy.core.ports import (
    BlobStore,
    Clock,
    ContentMissingError,
    FetchedManifest,
    ManifestKeptError,
    ManifestPush,
    MetadataStore,
    RepositoryUnknownError,
    TagKeptError,
    TagRecord,
    TagWrite,
)
from proxy.core.repositories import RepositoryService
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import MANIFEST_LIMIT, OCI_ARTIFACT, Manifest, media_type_of, parse_pushed
from proxy.model.media_types import IMAGES, INDEXES, SCHEMA1_PREFIX
from proxy.model.reference import Tag
from proxy.model.rule import UPLOADED, Remote
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_KNOWN = INDEXES | IMAGES | {OCI_ARTIFACT}


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """A manifest as a client sent it.

    `media_type` is its Content-Type, with or without parameters, None where it sent none. `tags` are those that a push
    by digest names beside it (distribution-spec, "Pushing Manifests": ``?tag=``). With `anew`, a tag that has the
    digest already is refused, as ECR's API does.
    """

    raw: bytes
    media_type: str | None
    reference: Tag | Digest
    tags: tuple[Tag, ...] = ()
    anew: bool = False


class TagRefusedError(ProxyError):
    """A tag was not written (TAG_INVALID); `kept` is what it is."""

    def __init__(self, message: str, kept: TagRecord, detail: Mapping[str, str]) -> None:
        """Keep the tag beside what the client is told."""
        super().__init__(ErrorCode.TAG_INVALID, message, detail=detail)
        self.kept = kept


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """What a pushed manifest is called; `subject` is what it refers to, `tags` are those that ``?tag=`` gave it."""

    digest: Digest
    subject: Digest | None
    tags: tuple[Tag, ...]


class PushService:
    """Take manifests. With `sparse`, indexes may name manifests that were not pushed.

    With `repeat`, a tag that is kept from moving may be pushed again with the digest that it has.
    """

    def __init__(  # noqa: PLR0913 - the composition root hands in each part
        self,
        metadata: MetadataStore,
        contents: ManifestContents,
        repositories: RepositoryService,
        admission: Admission,
        clock: Clock,
        metrics: Metrics,
        *,
        blobs: BlobStore,
        imports: Importer,
        offloader: Offloader,
        sparse: bool,
        repeat: bool,
    ) -> None:
        self._metadata = metadata
        self._contents = contents
        self._repositories = repositories
        self._admission = admission
        self._clock = clock
        self._metrics = metrics
        self._blobs = blobs
        self._imports = imports
        self._offloader = offloader
        self._sparse = sparse
        self._repeat = repeat

    async def put(self, resolution: Resolution, pushed: PushedManifest) -> PushAnswer:
        """Keep a manifest with its tags, durably, or nothing.

        Raises `ProxyError`: MANIFEST_INVALID, SIZE_INVALID, DIGEST_INVALID for bytes that are not what they are said to
        be, MANIFEST_BLOB_UNKNOWN where the repository does not hold what it names (all that is missing is in the
        detail), TAG_INVALID where a tag is kept from moving; and what `RepositoryService` raises.
        """
        self._repositories.require_writable(resolution)
        with accounted(self._metrics, "manifest"):
            fetched, manifest = await self._read(pushed)
            await self._repositories.ensure(resolution)
            tags = self._tags(resolution, pushed, fetched)
            # Before anything is stored, so that refusals are cheap; what counts is decided with the write.
            await self._check_tags(resolution, tags)
            await self._admission.require(len(fetched.raw))
            await self._contents.store(fetched.digest, fetched.raw)
            await self._push(resolution, fetched, manifest, tags)
        self._metrics.pushes.labels("manifest", "stored").inc()
        _log.info(
            "manifest.pushed",
            repository=resolution.repository,
            digest=str(fetched.digest),
            media_type=fetched.media_type,
            tags=[record.tag for record in tags.records],
        )
        subject = manifest.subject.digest if manifest.subject is not None else None
        return PushAnswer(fetched.digest, subject, tuple(dict.fromkeys(pushed.tags)))

    def _tags(self, resolution: Resolution, pushed: PushedManifest, fetched: FetchedManifest) -> TagWrite:
        names = pushed.tags if isinstance(pushed.reference, Digest) else (pushed.reference,)
        now = self._clock.now()
        records = [
            TagRecord(name, fetched.digest, fetched.media_type, UPLOADED, now, now) for name in dict.fromkeys(names)
        ]
        return TagWrite(tuple(records), resolution.tag_policy, self._repeat, anew=pushed.anew)

    async def _read(self, pushed: PushedManifest) -> tuple[FetchedManifest, Manifest]:
        """Return what was pushed, with the digest that it has, or refuse it."""
        size = len(pushed.raw)
        if size > MANIFEST_LIMIT:
            raise ProxyError(ErrorCode.SIZE_INVALID, f"a manifest has at most {MANIFEST_LIMIT} bytes, not {size}")
        if pushed.tags and not isinstance(pushed.reference, Digest):
            raise ProxyError(
                ErrorCode.TAG_INVALID, "tags are named in the query only where the manifest is put by digest"
            )
        return await self._offloader.run(size, _parse, pushed)

    async def _check_tags(self, resolution: Resolution, tags: TagWrite) -> None:
        known = await self._metadata.repository(resolution.repository) if tags.records else None
        own = known.tag_policy if known is not None else None
        for record in tags.records:
            kept = await self._metadata.tag(resolution.repository, record.tag)
            if kept is not None and not tags.may_replace(kept, record, own):
                raise self._kept(resolution, kept, record.digest)

    async def _push(self, resolution: Resolution, fetched: FetchedManifest, manifest: Manifest, tags: TagWrite) -> None:
        name = resolution.repository
        needed = frozenset(child.digest for child in manifest.required)
        is_index = manifest.media_type in INDEXES
        push = ManifestPush(
            record_of(fetched, manifest),
            manifest.children,
            blobs=frozenset() if is_index else needed,
            manifests=needed if is_index and not self._sparse else frozenset(),
            tags=tags,
        )
        try:
            if resolution.remote is None:
                await self._metadata.push(name, push, None)
            else:
                await self._push_to_cache(resolution, resolution.remote, push)
        except RepositoryUnknownError as error:
            raise self._repositories.unknown(name) from error
        except ContentMissingError as error:
            raise ProxyError(
                ErrorCode.MANIFEST_BLOB_UNKNOWN,
                detail={"name": name, "digests": [str(digest) for digest in error.digests]},
            ) from error
        except ManifestKeptError as error:
            raise ProxyError(
                ErrorCode.MANIFEST_INVALID,
                f"manifest invalid: it was sent as {fetched.media_type!r}, and is kept here as "
                f"{error.record.media_type!r}: delete it first",
                detail={"name": name, "digest": str(fetched.digest)},
            ) from error
        except TagKeptError as error:
            raise self._kept(resolution, error.record, fetched.digest) from error

    async def _push_to_cache(self, resolution: Resolution, remote: Remote, push: ManifestPush) -> None:
        """Keep the manifest; what it names and nobody pushed is had from the upstream, or is missing."""
        # Upstream's answer proves a blob before its bytes come, and they may never have come to their end.
        unstored = [digest for digest in sorted(push.blobs) if await self._blobs.stat(digest) is None]
        await self._import(resolution, push, unstored)
        try:
            await self._metadata.push(resolution.repository, push, remote.provenance)
        except ContentMissingError as error:
            await self._import(resolution, push, error.digests)
            await self._metadata.push(resolution.repository, push, remote.provenance)

    async def _import(self, resolution: Resolution, push: ManifestPush, missing: Sequence[Digest]) -> None:
        """Have the upstream give what is missing, or raise `ContentMissingError`."""
        for digest in missing:
            # An index may name blobs, too.
            if digest in push.manifests and await self._imports.bring_manifest(resolution, digest):
                continue
            if not await self._imports.bring_blob(resolution, digest):
                raise ContentMissingError(missing)

    def _kept(self, resolution: Resolution, kept: TagRecord, digest: Digest) -> TagRefusedError:
        name, tag = resolution.repository, kept.tag
        self._metrics.tag_moves_refused.labels("push").inc()
        _log.info("tag.move_refused", repository=name, tag=tag, digest=str(digest), kept=str(kept.digest))
        # Clients look for this sentence, which is ECR's, to the letter.
        return TagRefusedError(
            f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the "
            "tag is immutable.",
            kept,
            {"name": name, "tag": tag},
        )


def _parse(pushed: PushedManifest) -> tuple[FetchedManifest, Manifest]:
    reference = pushed.reference
    # By tag it has the canonical digest, which a later GET of the tag tells (distribution-spec, "Pushing Manifests").
    digest = Digest.of(pushed.raw, reference.algorithm if isinstance(reference, Digest) else "sha256")
    if isinstance(reference, Digest) and digest != reference:
        raise ProxyError(
            ErrorCode.DIGEST_INVALID,
            f"the manifest has the digest {digest}, not the one that it is put by",
            detail={"digest": str(reference)},
        )
    media_type = _media_type(pushed)
    return FetchedManifest(pushed.raw, media_type, digest), parse_pushed(pushed.raw, media_type)


def _media_type(pushed: PushedManifest) -> str:
    """Return the media type as it is kept: without parameters."""
    text = pushed.media_type if pushed.media_type is not None else media_type_of(pushed.raw)
    if text is None:
        raise ProxyError(ErrorCode.MANIFEST_INVALID, "a manifest needs a Content-Type, or a mediaType of its own")
    media_type = text.partition(";")[0].strip()
    # RFC 9110 §8.3.1: case does not count. A type that means something here is not to pass for another by its case.
    lower = media_type.lower()
    return lower if lower in _KNOWN or lower.startswith(SCHEMA1_PREFIX) else media_type
