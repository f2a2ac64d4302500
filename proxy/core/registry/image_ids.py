"""How callers of the API name images, and what they are told of those that something is wrong with."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.model.digest import Digest
from proxy.model.errors import ProxyError
from proxy.model.reference import Tag, is_tag

# ECR's, quoted in its own sentence.
_DIGEST: Final = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+")
_TAG: Final = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"


@dataclass(frozen=True, slots=True)
class ImageId:
    """An image by its digest, by a tag, or by both, as a caller wrote them or is to read them."""

    digest: str | None = None
    tag: str | None = None

    def __str__(self) -> str:
        """Return the id as ECR's messages write it."""
        return f"{{imageDigest:'{self.digest or 'null'}', imageTag:'{self.tag or 'null'}'}}"


class FailureCode(StrEnum):
    """What is wrong with one image of a request, by ECR's names."""

    INVALID_DIGEST = "InvalidImageDigest"
    INVALID_TAG = "InvalidImageTag"
    MISMATCH = "ImageTagDoesNotMatchDigest"
    NOT_FOUND = "ImageNotFound"
    NOTHING_NAMED = "MissingDigestAndTag"
    REFERENCED = "ImageReferencedByManifestList"
    UPSTREAM_DENIED = "UpstreamAccessDenied"
    UPSTREAM_LIMITED = "UpstreamTooManyRequests"
    UPSTREAM_UNAVAILABLE = "UpstreamUnavailable"


_UNFIT: Final = "Invalid request parameters:"
_REASONS: Final = {
    FailureCode.INVALID_DIGEST: f"{_UNFIT} image digest should satisfy the regex '{_DIGEST.pattern}'",
    FailureCode.INVALID_TAG: f"{_UNFIT} image tag should satisfy the regex '{_TAG}'",
    FailureCode.MISMATCH: "Requested image tag does not match the requested image digest",
    FailureCode.NOT_FOUND: "Requested image not found",
    FailureCode.NOTHING_NAMED: f"{_UNFIT} both tag and digest cannot be null",
}


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """An image of a request that was passed over, and why; `withheld`: the caller may not have it fetched."""

    id: ImageId
    code: FailureCode
    reason: str
    withheld: bool = False

    @classmethod
    def of(cls, image: ImageId, code: FailureCode) -> "ImageFailure":
        """Return the failure with ECR's sentence for it."""
        return cls(image, code, _REASONS[code])


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An `ImageId` that is well-formed: at least one of both is set."""

    id: ImageId
    digest: Digest | None
    tag: Tag | None


def read_ids(images: Iterable[ImageId]) -> tuple[list[NamedImage], list[ImageFailure]]:
    """Return the ids that could name an image, each once, and the failures of the others."""
    named: list[NamedImage] = []
    failures: list[ImageFailure] = []
    for image in dict.fromkeys(images):
        read = _read(image)
        if isinstance(read, NamedImage):
            named.append(read)
        else:
            failures.append(ImageFailure.of(image, read))
    return named, failures


def _read(image: ImageId) -> NamedImage | FailureCode:
    if image.digest is None and image.tag is None:
        return FailureCode.NOTHING_NAMED
    if image.tag is not None and not is_tag(image.tag):
        return FailureCode.INVALID_TAG
    digest = None
    if image.digest is not None:
        if _DIGEST.fullmatch(image.digest) is None:
            return FailureCode.INVALID_DIGEST
        try:
            digest = Digest.parse(image.digest)
        except ProxyError:  # of another algorithm or length: nothing here can have it
            return FailureCode.NOT_FOUND
    return NamedImage(image, digest, Tag(image.tag) if image.tag is not None else None)
