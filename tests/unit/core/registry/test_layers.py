"""Layers as ECR's own client sends and fetches them."""

import random
from collections.abc import Awaitable
from dataclasses import dataclass

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.pushes import PushedManifest
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.layers import LayerAdministration, LayerCheck, Part
from proxy.core.registry.locator import RepositoryLocator
from proxy.core.uploads import Chunk
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName, Tag
from tests.support.bodies import body
from tests.support.documents import CONFIG_TYPE, LAYER_TYPE, image
from tests.unit.core.conftest import Bench

MIB = 1 << 20
CONFIG, LAYER = b"{}", b"the bytes of a layer"
NAME = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
CACHE = RepositoryName("quay/app/web")
NO_UPLOAD = "00000000-0000-4000-8000-000000000000"
LARGE = random.Random(7).randbytes(12 * MIB)  # noqa: S311 - content, not a secret


@dataclass
class Layers:
    """One registry's layers, as the anonymous principal sends them to the repository `NAME`."""

    bench: Bench
    service: LayerAdministration

    async def begin(self) -> str:
        return await self.service.initiate(NAME, ANONYMOUS)

    async def send(self, upload: str, data: bytes, first: int = 0) -> int:
        return await self.service.upload(NAME, ANONYMOUS, upload, Part(first, first + len(data) - 1, data))

    async def complete(self, upload: str, *contents: bytes) -> Digest:
        return await self.service.complete(NAME, ANONYMOUS, upload, [str(Digest.of(each)) for each in contents])

    async def stored(self, content: bytes) -> bool:
        return await self.bench.store.stat(Digest.of(content)) is not None


def made(bench: Bench, *, ecr: bool = False) -> Layers:
    identity = RegistryIdentity("012345678910", ecr=ecr)
    locator = RepositoryLocator(bench.metadata, bench.book, identity)
    service = LayerAdministration(bench.metadata, locator, bench.uploads, bench.blobs, bench.store, identity)
    return Layers(bench, service)


@pytest.fixture
async def layers(bench: Bench) -> Layers:
    for name in (NAME, OTHER):
        await bench.metadata.create_repository(RepositoryRecord(name, 1.0))
    return made(bench)


async def refused(work: Awaitable[object]) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await work
    return raised.value


# --- uploads ----------------------------------------------------------------------------------------------------------


async def test_a_layer_comes_in_parts_and_can_be_pulled(layers: Layers) -> None:
    upload = await layers.begin()
    assert await layers.send(upload, LARGE[: 10 * MIB]) == 10 * MIB - 1
    assert await layers.send(upload.upper(), LARGE[10 * MIB :], 10 * MIB) == len(LARGE) - 1
    assert await layers.complete(upload, LARGE) == Digest.of(LARGE)

    source = await layers.bench.blobs.open(layers.bench.resolve(NAME), Digest.of(LARGE))
    assert b"".join([piece async for piece in source.stream(0, source.total)]) == LARGE
    source.close()


async def test_a_part_that_does_not_continue_the_upload_is_refused_and_changes_nothing(layers: Layers) -> None:
    upload = await layers.begin()
    await layers.send(upload, b"01234")
    for first in (0, 4, 6):
        error = await refused(layers.send(upload, b"x", first))
        assert error.code is ApiErrorCode.InvalidLayerPartException
        assert error.members == {
            "registryId": "012345678910",
            "repositoryName": NAME,
            "uploadId": upload,
            "lastValidByteReceived": 4,
        }
    await layers.send(upload, b"56789", 5)

    assert await layers.complete(upload, b"0123456789") == Digest.of(b"0123456789")


@pytest.mark.parametrize(("first", "last", "data"), [(0, 5, b"01234"), (0, 3, b"01234"), (0, 0, b""), (5, 4, b"")])
async def test_a_part_that_is_not_as_long_as_it_says_is_refused(
    layers: Layers, first: int, last: int, data: bytes
) -> None:
    upload = await layers.begin()
    error = await refused(layers.service.upload(NAME, ANONYMOUS, upload, Part(first, last, data)))

    assert error.code is ApiErrorCode.InvalidLayerPartException
    assert error.members["lastValidByteReceived"] == 0


async def test_another_digest_ends_the_upload_and_keeps_nothing(layers: Layers) -> None:
    upload = await layers.begin()
    await layers.send(upload, LAYER)

    assert (await refused(layers.complete(upload, CONFIG))).code is ApiErrorCode.InvalidLayerException
    assert (await refused(layers.complete(upload, LAYER))).code is ApiErrorCode.UploadNotFoundException
    assert not await layers.stored(LAYER)


async def test_an_upload_without_parts_is_empty(layers: Layers) -> None:
    upload = await layers.begin()

    assert (await refused(layers.complete(upload, b""))).code is ApiErrorCode.EmptyUploadException
    await layers.send(upload, LAYER)
    await layers.complete(upload, LAYER)


async def test_a_layer_that_is_there_is_not_taken_twice(layers: Layers) -> None:
    first, second = await layers.begin(), await layers.begin()
    for upload in (first, second):
        await layers.send(upload, LAYER)
    await layers.complete(first, LAYER)
    error = await refused(layers.complete(second, LAYER))

    assert error.code is ApiErrorCode.LayerAlreadyExistsException
    assert str(Digest.of(LAYER)) in error.message
    assert (await refused(layers.send(second, LAYER))).code is ApiErrorCode.UploadNotFoundException


async def test_a_layer_of_another_repository_is_not_there_yet(layers: Layers) -> None:
    await layers.bench.uploads.whole(layers.bench.resolve(OTHER), Digest.of(LAYER), Chunk(body(LAYER)))
    upload = await layers.begin()
    await layers.send(upload, LAYER)

    assert await layers.complete(upload, LAYER) == Digest.of(LAYER)


async def test_an_upload_is_nobody_elses(layers: Layers) -> None:
    upload, service = await layers.begin(), layers.service
    digests, part = [str(Digest.of(LAYER))], Part(0, 0, b"x")
    for work in (
        service.upload(OTHER, ANONYMOUS, upload, part),
        service.upload(NAME, Principal("eve"), upload, part),
        service.upload(NAME, ANONYMOUS, NO_UPLOAD, part),
        service.complete(OTHER, ANONYMOUS, upload, digests),
        service.complete(NAME, Principal("eve"), upload, digests),
        service.complete(NAME, ANONYMOUS, NO_UPLOAD, digests),
    ):
        error = await refused(work)
        assert error.code is ApiErrorCode.UploadNotFoundException
        assert "Upload with id '" in error.message


@pytest.mark.parametrize("digests", [["sha256:1"], ["latest"], [str(Digest.of(CONFIG)), str(Digest.of(LAYER))]])
async def test_an_upload_is_completed_by_one_digest(layers: Layers, digests: list[str]) -> None:
    upload = await layers.begin()
    await layers.send(upload, LAYER)
    error = await refused(layers.service.complete(NAME, ANONYMOUS, upload, digests))

    assert error.code is ApiErrorCode.InvalidParameterException
    assert "'layerDigests'" in error.message
    assert await layers.complete(upload, LAYER, LAYER) == Digest.of(LAYER)


@pytest.mark.parametrize("ecr", [True, False])
@pytest.mark.parametrize(
    ("sizes", "small"), [((5, 1), False), ((10, 2), False), ((2, 10), True), ((6, 1, 5), True), ((1,), False)]
)
async def test_only_ecr_minds_small_parts_before_the_last(
    layers: Layers,
    sizes: tuple[int, ...],
    small: bool,  # noqa: FBT001 - a parameter of the test
    ecr: bool,  # noqa: FBT001 - as above
) -> None:
    here = made(layers.bench, ecr=ecr)
    upload, begin = await here.begin(), 0
    for size in sizes:
        await here.send(upload, LARGE[begin * MIB : (begin + size) * MIB], begin * MIB)
        begin += size
    content = LARGE[: begin * MIB]

    if ecr and small:
        assert (await refused(here.complete(upload, content))).code is ApiErrorCode.LayerPartTooSmallException
    else:
        assert await here.complete(upload, content) == Digest.of(content)


async def test_every_method_refuses_a_repository_that_is_not_there(bench: Bench) -> None:
    service = made(bench).service
    for work in (
        service.check(NAME, [str(Digest.of(LAYER))]),
        service.initiate(NAME, ANONYMOUS),
        service.upload(NAME, ANONYMOUS, NO_UPLOAD, Part(0, 0, b"x")),
        service.complete(NAME, ANONYMOUS, NO_UPLOAD, [str(Digest.of(LAYER))]),
        service.locate(NAME, str(Digest.of(LAYER))),
    ):
        assert (await refused(work)).code is ApiErrorCode.RepositoryNotFoundException
    assert await bench.metadata.has_repository(NAME) is False


async def test_a_cache_takes_no_layers(bench: Bench) -> None:
    bench.web.put(image(CONFIG, LAYER), "v1")
    await bench.manifests.get(bench.resolve(CACHE), Tag("v1"))
    with pytest.raises(ProxyError) as raised:
        await made(bench).service.initiate(CACHE, ANONYMOUS)

    assert raised.value.code is ErrorCode.UNSUPPORTED


# --- what is there ----------------------------------------------------------------------------------------------------


async def test_layers_that_are_there_are_told_from_those_that_are_not(layers: Layers) -> None:
    bench, resolution = layers.bench, layers.bench.resolve(NAME)
    for blob in (CONFIG, LAYER, b"alone"):
        await bench.uploads.whole(resolution, Digest.of(blob), Chunk(body(blob)))
    await bench.uploads.whole(bench.resolve(OTHER), Digest.of(b"elsewhere"), Chunk(body(b"elsewhere")))
    await bench.pushes.put(resolution, PushedManifest(image(CONFIG, LAYER), None, Tag("v1")))
    asked = [CONFIG, LAYER, b"alone", b"elsewhere", b"nowhere"]
    digests = [str(Digest.of(each)) for each in asked]
    found, failures = await layers.service.check(NAME, [*digests, "", "sha256:1", digests[0]])

    assert found == [
        LayerCheck(Digest.of(CONFIG), len(CONFIG), CONFIG_TYPE),
        LayerCheck(Digest.of(LAYER), len(LAYER), LAYER_TYPE),
        LayerCheck(Digest.of(b"alone"), len(b"alone")),
        LayerCheck(Digest.of(b"elsewhere"), None),
        LayerCheck(Digest.of(b"nowhere"), None),
    ]
    assert [(failure.digest, failure.code) for failure in failures] == [
        ("", "MissingLayerDigest"),
        ("sha256:1", "InvalidLayerDigest"),
    ]


async def test_a_layer_whose_bytes_are_lost_is_not_there(layers: Layers) -> None:
    await layers.bench.uploads.whole(layers.bench.resolve(NAME), Digest.of(LAYER), Chunk(body(LAYER)))
    await layers.bench.store.delete(Digest.of(LAYER))
    text = str(Digest.of(LAYER))

    assert await layers.service.check(NAME, [text]) == ([LayerCheck(Digest.of(LAYER), None)], [])
    assert (await refused(layers.service.locate(NAME, text))).code is ApiErrorCode.LayersNotFoundException


async def test_what_a_cache_has_not_fetched_is_not_there_and_no_upstream_is_asked(bench: Bench) -> None:
    bench.web.put(image(CONFIG, LAYER), "v1")
    bench.web.put_blob(LAYER)
    await bench.manifests.get(bench.resolve(CACHE), Tag("v1"))
    asked = len(bench.upstream.journal)

    found, _ = await made(bench).service.check(CACHE, [str(Digest.of(LAYER))])
    assert found == [LayerCheck(Digest.of(LAYER), None)]
    assert len(bench.upstream.journal) == asked


# --- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ecr", [True, False])
async def test_a_layer_that_an_image_names_can_be_downloaded(layers: Layers, ecr: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bench, here = layers.bench, made(layers.bench, ecr=ecr)
    for blob in (CONFIG, LAYER, b"alone"):
        await bench.uploads.whole(bench.resolve(NAME), Digest.of(blob), Chunk(body(blob)))
    await bench.pushes.put(bench.resolve(NAME), PushedManifest(image(CONFIG, LAYER), None, Tag("v1")))
    alone = str(Digest.of(b"alone"))

    assert await here.service.locate(NAME, str(Digest.of(LAYER))) == (NAME, Digest.of(LAYER))
    if ecr:
        assert (await refused(here.service.locate(NAME, alone))).code is ApiErrorCode.LayerInaccessibleException
    else:
        assert await here.service.locate(NAME, alone) == (NAME, Digest.of(b"alone"))


async def test_a_layer_that_is_not_there_is_named(layers: Layers) -> None:
    text = str(Digest.of(LAYER))
    error = await refused(layers.service.locate(NAME, text))

    assert (error.code, text in error.message) == (ApiErrorCode.LayersNotFoundException, True)
    assert (await refused(layers.service.locate(NAME, "latest"))).code is ApiErrorCode.InvalidParameterException


async def test_a_layer_of_a_cache_is_there_while_its_upstream_holds_it(bench: Bench) -> None:
    bench.web.put(image(CONFIG, LAYER), "v1")
    bench.web.put_blob(b"alone")
    await bench.manifests.get(bench.resolve(CACHE), Tag("v1"))
    service = made(bench).service

    assert await service.locate(CACHE, str(Digest.of(LAYER))) == (CACHE, Digest.of(LAYER))
    assert await service.locate(CACHE, str(Digest.of(b"alone"))) == (CACHE, Digest.of(b"alone"))
    error = await refused(service.locate(CACHE, str(Digest.of(b"nowhere"))))
    assert error.code is ApiErrorCode.LayersNotFoundException


@pytest.mark.parametrize("failure", [UpstreamFailure.TIMEOUT, UpstreamFailure.CREDENTIALS_REFUSED])
async def test_an_upstream_that_fails_is_told_of(bench: Bench, failure: UpstreamFailure) -> None:
    bench.upstream.fail(failure)
    error = await refused(made(bench).service.locate(CACHE, str(Digest.of(LAYER))))

    assert error.code is ApiErrorCode.UnableToGetUpstreamLayerException


async def test_layers_that_a_rule_keeps_back_are_inaccessible(bench: Bench) -> None:
    bench.web.put(image(CONFIG, LAYER), "v1")
    await bench.manifests.get(bench.resolve(CACHE), Tag("v1"))
    bench.with_rule(deny=("app/*",))
    error = await refused(made(bench).service.locate(CACHE, str(Digest.of(LAYER))))

    assert error.code is ApiErrorCode.LayerInaccessibleException
