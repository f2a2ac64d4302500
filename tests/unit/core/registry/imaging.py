"""Images that tests put into one repository, and what they are told."""

from collections.abc import Awaitable

import pytest

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.image_ids import ImageId
from proxy.core.registry.images import ImageAdministration, NewImage
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from tests.support.documents import image, index

CONFIG, LAYER = b"{}", b"the bytes of a layer"
IMAGE = image(CONFIG, LAYER)
OTHER = image(CONFIG, LAYER, annotations={"other": "yes"})
INDEX = index(IMAGE, OTHER)
NAME = RepositoryName("team/app")
CACHE = RepositoryName("quay/app/web")
IDENTITY = RegistryIdentity("012345678910")
UNKNOWN_REPOSITORY = "The repository with name '{}' does not exist in the registry with id '012345678910'"


def digest(raw: bytes) -> str:
    return str(Digest.of(raw))


def by_tag(*tags: str) -> list[ImageId]:
    return [ImageId(tag=tag) for tag in tags]


def by_digest(*raws: bytes) -> list[ImageId]:
    return [ImageId(digest(raw)) for raw in raws]


async def put(images: ImageAdministration, raw: bytes = IMAGE, tag: str | None = None) -> None:
    await images.put(NAME, NewImage(raw, tag=tag))


async def refused(work: Awaitable[object]) -> tuple[ApiErrorCode, str]:
    with pytest.raises(ApiError) as raised:
        await work
    return raised.value.code, raised.value.message
