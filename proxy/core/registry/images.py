"""Images as callers of the API list, describe, get, put and delete them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from proxy.core.descriptors import decode_index
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.pushes import PushAnswer, PushedManifest, PushService, TagRefusedError
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.image_ids import FailureCode, ImageFailure, ImageId, NamedImage, read_ids
from proxy.core.registry.locator import RepositoryLocator
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import ImageRecord
from proxy.core.registry.refusals import blaming_upstream, digest_given
from proxy.core.rules import Resolution
from proxy.core.translation import FetchRefusedError
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import media_type_of
from proxy.model.media_types import INDEXES
from proxy.model.pages import REFERRERS_LIMIT, Page
from proxy.model.reference import RepositoryName, Tag, is_tag

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 8
"""Images of one request that are pulled through at the same time."""

_ANSWER_LIMIT: Final = 16 << 20
"""Bytes of manifests in one answer: it is composed in memory."""

_FAILURES: Final = {
    ErrorCode.MANIFEST_UNKNOWN: FailureCode.NOT_FOUND,
    ErrorCode.NAME_UNKNOWN: FailureCode.NOT_FOUND,
    ErrorCode.DENIED: FailureCode.UPSTREAM_DENIED,
    ErrorCode.TOOMANYREQUESTS: FailureCode.UPSTREAM_LIMITED,
    ErrorCode.UPSTREAM_INVALID: FailureCode.UPSTREAM_UNAVAILABLE,
    ErrorCode.UPSTREAM_TIMEOUT: FailureCode.UPSTREAM_UNAVAILABLE,
    ErrorCode.UPSTREAM_UNAVAILABLE: FailureCode.UPSTREAM_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it is handed out: its manifest, byte for byte."""

    id: ImageId
    manifest: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image that a caller puts. `media_type` may be None where the manifest tells its own."""

    manifest: bytes
    media_type: str | None = None
    tag: str | None = None
    digest: str | None = None


class ImageAdministration:
    """Look after images for callers of the API. Every method raises `ApiError`, and `ProxyError` for the rest.

    In a cache repository `get` pulls through what is not kept, as a client's pull does; `pulled` is told of whatever it
    hands out. For who may not have anything fetched (`may_fetch`), no upstream is asked.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands in each part
        self,
        store: RegistryStore,
        locator: RepositoryLocator,
        manifests: ManifestService,
        pushes: PushService,
        listings: ListingService,
        identity: RegistryIdentity,
        pulled: Callable[[Resolution, Digest], None],
        offloader: Offloader,
    ) -> None:
        self._store = store
        self._locator = locator
        self._manifests = manifests
        self._pushes = pushes
        self._listings = listings
        self._identity = identity
        self._pulled = pulled
        self._offloader = offloader

    # --- lists ---

    async def ids(
        self, name: RepositoryName, after: str, limit: int, *, tagged: bool | None = None
    ) -> tuple[list[ImageId], str | None]:
        """Return up to `limit` image ids, and the key after which others follow (None: there are none).

        An image has an id for each tag, or one without where it has no tags. With `tagged`, only those that have tags,
        or have none. `after` is a key that was returned before, "" for the first page.
        """
        repository = (await self._locator.require(name)).repository
        digest, tag = _position(after)
        records: list[ImageRecord] = []
        if digest is not None and tag:
            # The page before may have ended amid the tags of an image.
            records += await self._store.images_named(repository, [digest], [])
        # Each has an id at least: these fill the page, and show whether another follows.
        last = str(digest) if digest is not None else ""
        records += await self._store.images(repository, last, limit + 1, tagged=tagged)
        found = [one for record in records for one in _ids(record) if record.digest != digest or (one.tag or "") > tag]
        page = found[:limit]
        return page, f"{page[-1].digest} {page[-1].tag or ''}".rstrip() if len(found) > limit else None

    async def page(
        self, name: RepositoryName, after: str, limit: int, *, tagged: bool | None = None
    ) -> list[ImageRecord]:
        """Return up to `limit` images whose digests are greater than `after`, in order of digest."""
        repository = (await self._locator.require(name)).repository
        return await self._store.images(repository, after, limit, tagged=tagged)

    async def describe(self, name: RepositoryName, images: Iterable[ImageId]) -> list[ImageRecord]:
        """Return the images of these ids, each once; ImageNotFoundException for the first that there is not."""
        repository = (await self._locator.require(name)).repository
        named, failures = read_ids(images)
        for failure in failures:
            if failure.code is FailureCode.NOT_FOUND:
                raise self._unknown(name, failure.id)
            raise ApiError(ApiErrorCode.InvalidParameterException, failure.reason)
        records = await self._named(repository, named)
        found: dict[Digest, ImageRecord] = {}
        for image in named:
            record = _match(records, image)
            if record is None:
                raise self._unknown(name, image.id)
            found[record.digest] = record
        return list(found.values())

    async def referrers(
        self,
        name: RepositoryName,
        subject: str,
        types: Sequence[str],
        after: str,
        limit: int,
        *,
        may_fetch: bool = True,
    ) -> tuple[list[Descriptor], str | None]:
        """Return up to `limit` referrers of a digest in its order, and the key after which others follow, or None.

        With `types`, those of one of these artifact types. A cache repository has its upstream's, too:
        UnableToListUpstreamImageReferrersException where these are not to be had.
        """
        resolution = await self._locator.reach(name, may_fetch=may_fetch)
        digest = digest_given("subjectId.imageDigest", subject)
        with blaming_upstream(resolution, ApiErrorCode.UnableToListUpstreamImageReferrersException):
            found, more = await self._referrers(resolution, digest, types, after, limit)
        if not found:
            await self._locator.require(name)
        return found, str(found[-1].digest) if more else None

    async def _referrers(
        self, resolution: Resolution, subject: Digest, types: Sequence[str], after: str, limit: int
    ) -> tuple[list[Descriptor], bool]:
        if resolution.refusal is not None:
            raise ProxyError(ErrorCode.DENIED, resolution.refusal)
        # One type is chosen where the list is made; several are chosen here.
        one, size = (types[0], limit) if len(types) == 1 else (None, REFERRERS_LIMIT if types else limit)
        found: list[Descriptor] = []
        while True:
            listed = await self._listings.referrers(resolution, subject, one, Page(size, after))
            here = decode_index(listed.document)
            found += [each for each in here if not types or each.artifact_type in types]
            if listed.last is None or len(found) > limit or (len(found) == limit and not types):
                break
            after = str(listed.last)
        return found[:limit], len(found) > limit or (listed.last is not None and bool(found))

    # --- whole images ---

    async def get(
        self, name: RepositoryName, images: Iterable[ImageId], *, may_fetch: bool = True
    ) -> tuple[list[Image], list[ImageFailure]]:
        """Return the images of these ids as they are kept, never converted, and the failures of the others.

        LimitExceededException where they are too much for one answer.
        """
        resolution = await self._locator.reach(name, may_fetch=may_fetch)
        named, failures = read_ids(images)
        if resolution.refusal is not None:
            reason = resolution.refusal
            return [], failures + [ImageFailure(one.id, FailureCode.UPSTREAM_DENIED, reason) for one in named]
        found: list[Image] = []
        for answer in await self._get_all(resolution, named):
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, ImageFailure):
                failures.append(answer)
            else:
                found.append(answer)
        if not found and all(failure.code is FailureCode.NOT_FOUND for failure in failures):
            await self._locator.require(name)
        return found, failures

    async def _get_all(
        self, resolution: Resolution, images: Sequence[NamedImage]
    ) -> list[Image | ImageFailure | ApiError | ProxyError]:
        turns, left = asyncio.Semaphore(_AT_ONCE), _ANSWER_LIMIT

        async def get(image: NamedImage) -> Image | ImageFailure | ApiError | ProxyError:
            nonlocal left
            async with turns:
                if left < 0:
                    return _too_much()
                try:
                    found = await self._get(resolution, image)
                except ProxyError as error:
                    return _failure(image.id, error)
                if isinstance(found, Image):
                    left -= len(found.manifest)
                return found if left >= 0 else _too_much()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(get(image)) for image in images]
        return [task.result() for task in tasks]

    async def _get(self, resolution: Resolution, image: NamedImage) -> Image | ImageFailure:
        reference = image.tag if image.tag is not None else image.digest
        if reference is None:
            raise AssertionError("an id that was read names something")
        answer = await self._manifests.get(resolution, reference)
        if answer.raw is None:
            raise AssertionError("a manifest that is got has its bytes")
        if image.digest is not None and await self._digest_of(answer.raw, image.digest.algorithm) != image.digest:
            return ImageFailure.of(image.id, FailureCode.MISMATCH)
        self._pulled(resolution, answer.digest)
        media_type = answer.media_type.partition(";")[0].strip()
        return Image(ImageId(str(image.digest or answer.digest), image.tag), answer.raw, media_type)

    async def put(self, name: RepositoryName, image: NewImage, *, may_fetch: bool = True) -> Image:
        """Keep an image, with its tag if it has one; what was there and does not change is ImageAlreadyExistsException.

        The repository must be there. Whether the tag may be written is decided in the transaction that writes.
        """
        resolution = await self._locator.require(name, may_fetch=may_fetch)
        if image.tag is not None and not is_tag(image.tag):
            raise invalid("imageTag", "a tag is 1 to 128 letters, digits, . _ or -, and begins with no . or -")
        tags = (Tag(image.tag),) if image.tag is not None else ()
        try:
            given = image.media_type or media_type_of(image.manifest)
            media_type = given.partition(";")[0].strip() if given is not None else None
            named = digest_given("imageDigest", image.digest) if image.digest else None
            digest = named or await self._digest_of(image.manifest)
            if not tags and await self._store.manifest(resolution.repository, digest, None) is not None:
                raise self._unchanged(name, digest, None)
            pushed = PushedManifest(image.manifest, media_type, digest, tags, anew=True)
            kept = await self._push(name, resolution, pushed)
        except ProxyError as error:
            if error.code not in {ErrorCode.MANIFEST_INVALID, ErrorCode.SIZE_INVALID}:
                raise
            raise invalid("imageManifest", error.message) from error
        return Image(ImageId(str(kept.digest), image.tag), image.manifest, media_type or "")

    async def _push(self, name: RepositoryName, resolution: Resolution, pushed: PushedManifest) -> PushAnswer:
        account = self._identity.account
        try:
            return await self._pushes.put(resolution, pushed)
        except TagRefusedError as error:
            if error.kept.digest == pushed.reference:
                raise self._unchanged(name, error.kept.digest, error.kept.tag) from error
            raise ApiError(ApiErrorCode.ImageTagAlreadyExistsException, error.message) from error
        except ProxyError as error:
            match error.code:
                case ErrorCode.DIGEST_INVALID:
                    raise ApiError(ApiErrorCode.ImageDigestDoesNotMatchException) from error
                case ErrorCode.NAME_UNKNOWN:
                    raise self._identity.unknown(name) from error
                case ErrorCode.MANIFEST_BLOB_UNKNOWN:
                    code, what = ApiErrorCode.LayersNotFoundException, "Layers"
                    if pushed.media_type in INDEXES:
                        code, what = ApiErrorCode.ReferencedImagesNotFoundException, "Images"
                    digests = ", ".join(error.detail["digests"])
                    sentence = (
                        f"{what} with digests '[{digests}]' required for pushing image into repository with name "
                        f"'{name}' in the registry with id '{account}' do not exist"
                    )
                    raise ApiError(code, sentence) from error
                case _:
                    raise

    async def delete(self, name: RepositoryName, images: Iterable[ImageId]) -> tuple[list[ImageId], list[ImageFailure]]:
        """Remove tags and images; return the ids of what went, and the failures of the others.

        A tag goes alone, and its image with its last tag; by digest an image goes with all its tags. An image that an
        index names goes together with that index, or stays. Whether tags may move does not matter.
        """
        resolution = await self._locator.require(name)
        repository = resolution.repository
        named, failures = read_ids(images)
        gone: list[ImageId] = []
        for image in named:
            if image.tag is None:
                continue
            on = await self._store.remove_tag(repository, image.tag, image.digest)
            if on is not None:
                gone.append(ImageId(str(on), image.tag))
            else:
                there = await self._store.tag(repository, image.tag)
                code = FailureCode.NOT_FOUND if there is None else FailureCode.MISMATCH
                failures.append(ImageFailure.of(image.id, code))
        digests = [image.digest for image in named if image.tag is None and image.digest is not None]
        for digest, outcome in (await self._remove(repository, digests)).items():
            # Gone a moment ago, with its last tag.
            went = outcome is None and any(one.digest == str(digest) for one in gone)
            if isinstance(outcome, ImageFailure):
                failures.append(outcome)
            elif outcome is not None:
                gone += outcome
            elif went:
                gone.append(ImageId(str(digest)))
            else:
                failures.append(ImageFailure.of(ImageId(str(digest)), FailureCode.NOT_FOUND))
        if gone:
            # Else a tag that clients were told of a moment ago would be kept again with the manifest that they fetch.
            self._manifests.forget(repository)
            _log.info("images.deleted", repository=repository, images=[str(one) for one in gone])
        return gone, failures

    async def _remove(
        self, repository: RepositoryName, digests: Sequence[Digest]
    ) -> dict[Digest, list[ImageId] | ImageFailure | None]:
        """Remove images; return for each the ids it had, or why it stays, or None where there is none."""
        if not digests:
            return {}
        known = {record.digest: record for record in await self._store.images_named(repository, digests, [])}
        removed = set(await self._store.remove_images(repository, digests))
        parents = await self._store.parents(repository, [one for one in digests if one not in removed])
        found: dict[Digest, list[ImageId] | ImageFailure | None] = {}
        for digest in digests:
            record = known.get(digest)
            if digest in removed:
                found[digest] = _ids(record) if record is not None else [ImageId(str(digest))]
            elif record is not None and digest in parents:
                named = ", ".join(sorted(map(str, parents[digest])))
                reason = f"Requested image referenced by manifest list: [{named}]"
                found[digest] = ImageFailure(ImageId(str(digest)), FailureCode.REFERENCED, reason)
            else:
                found[digest] = None
        return found

    # --- what images are called ---

    async def _named(self, repository: RepositoryName, images: Sequence[NamedImage]) -> list[ImageRecord]:
        digests = [image.digest for image in images if image.digest is not None]
        tags = [image.tag for image in images if image.tag is not None]
        return await self._store.images_named(repository, digests, tags)

    async def _digest_of(self, raw: bytes, algorithm: str = "sha256") -> Digest:
        return await self._offloader.run(len(raw), Digest.of, raw, algorithm)

    def _unknown(self, name: RepositoryName, image: ImageId) -> ApiError:
        return ApiError(
            ApiErrorCode.ImageNotFoundException,
            f"The image with imageId {image} does not exist within the repository with name '{name}' in the registry "
            f"with id '{self._identity.account}'",
        )

    def _unchanged(self, name: RepositoryName, digest: Digest, tag: Tag | None) -> ApiError:
        return ApiError(
            ApiErrorCode.ImageAlreadyExistsException,
            f"Image with digest '{digest}' and tag '{tag or 'null'}' already exists in the repository with name "
            f"'{name}' in registry with id '{self._identity.account}'",
        )


def _ids(record: ImageRecord) -> list[ImageId]:
    return [ImageId(str(record.digest), tag) for tag in record.tags] or [ImageId(str(record.digest))]


def _match(records: Iterable[ImageRecord], image: NamedImage) -> ImageRecord | None:
    for record in records:
        if image.digest in {None, record.digest} and (image.tag is None or image.tag in record.tags):
            return record
    return None


def _position(key: str) -> tuple[Digest | None, str]:
    """Return the digest and, where the page ended amid the tags of an image, the tag that a key stands for."""
    if not key:
        return None, ""
    digest, _, tag = key.partition(" ")
    return digest_given("nextToken", digest), tag


def _failure(image: ImageId, error: ProxyError) -> ImageFailure | ProxyError:
    code = _FAILURES.get(error.code)
    if code is None:
        return error
    if code is FailureCode.NOT_FOUND:
        return ImageFailure.of(image, code)
    return ImageFailure(image, code, error.message, withheld=isinstance(error, FetchRefusedError))


def _too_much() -> ApiError:
    return ApiError(
        ApiErrorCode.LimitExceededException,
        f"The images have more than {_ANSWER_LIMIT} bytes of manifests: ask for fewer at a time",
    )
