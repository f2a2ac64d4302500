"""The operations on layers, as boto3 calls them."""

import random

import pytest

from proxy.config.settings import Settings
from proxy.model.digest import Digest
from tests.unit.http.aws.conftest import ECR, Bench, Boto, Client
from tests.unit.http.aws.contents import Contents

MIB = 1 << 20
NAME = "team/app"
LAYER = b"the bytes of a layer"
DIGEST = str(Digest.of(LAYER))


@pytest.fixture
async def repository(ecr: Client) -> str:
    await ecr("create_repository", repositoryName=NAME)
    return NAME


async def upload(ecr: Client, *parts: bytes) -> str:
    begun = await ecr("initiate_layer_upload", repositoryName=NAME)
    first = 0
    for part in parts:
        await send(ecr, begun["uploadId"], first, part)
        first += len(part)
    found: str = begun["uploadId"]
    return found


async def send(ecr: Client, upload: str, first: int, part: bytes) -> None:
    last = first + len(part) - 1
    given = {"uploadId": upload, "partFirstByte": first, "partLastByte": last, "layerPartBlob": part}
    await ecr("upload_layer_part", repositoryName=NAME, **given)


async def test_the_largest_part_is_taken_and_no_larger_one(contents: Contents, boto: Boto, repository: str) -> None:
    ecr = boto("ecr", validate=False)
    part = random.Random(1).randbytes(20 * MIB)  # noqa: S311 - content, not a secret
    begun = await upload(ecr, part)
    given = {"uploadId": begun, "partFirstByte": len(part), "partLastByte": 2 * len(part)}
    code, message = await ecr.refused(
        "upload_layer_part", repositoryName=repository, **given, layerPartBlob=part + b"x"
    )
    await ecr("complete_layer_upload", repositoryName=repository, uploadId=begun, layerDigests=[str(Digest.of(part))])

    assert (code, "'layerPartBlob'" in message) == ("InvalidParameterException", True)
    assert await contents.store.stat(Digest.of(part)) == len(part)


async def test_a_part_in_the_wrong_place_is_told_where_to_go_on(ecr: Client, repository: str) -> None:
    begun = await upload(ecr, LAYER)
    given = {"uploadId": begun, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": b"x"}
    with pytest.raises(Exception, match="InvalidLayerPartException") as raised:
        await ecr("upload_layer_part", repositoryName=repository, **given)

    answer = raised.value.response  # type: ignore[attr-defined] # botocore's
    assert answer["lastValidByteReceived"] == len(LAYER) - 1
    assert (answer["repositoryName"], answer["uploadId"]) == (repository, begun)


async def test_layers_are_available_once_they_are_complete(ecr: Client, repository: str) -> None:
    asked = {"repositoryName": repository, "layerDigests": [DIGEST, "sha256:1", ""]}
    before = await ecr("batch_check_layer_availability", **asked)
    begun = await upload(ecr, LAYER)
    await ecr("complete_layer_upload", repositoryName=repository, uploadId=begun, layerDigests=[DIGEST])
    after = await ecr("batch_check_layer_availability", **asked)

    assert before["layers"] == [{"layerDigest": DIGEST, "layerAvailability": "UNAVAILABLE"}]
    assert after["layers"] == [{"layerDigest": DIGEST, "layerAvailability": "AVAILABLE", "layerSize": len(LAYER)}]
    assert [(one["layerDigest"], one["failureCode"]) for one in after["failures"]] == [
        ("sha256:1", "InvalidLayerDigest"),
        ("", "MissingLayerDigest"),
    ]


async def test_refusals_of_uploads_are_ecrs(ecr: Client, repository: str) -> None:
    empty, wrong, first, second = [await upload(ecr, *parts) for parts in ([], [b"x"], [LAYER], [LAYER])]
    await ecr("complete_layer_upload", repositoryName=repository, uploadId=first, layerDigests=[DIGEST])
    for begun, code in (
        (empty, "EmptyUploadException"),
        (wrong, "InvalidLayerException"),
        (first, "UploadNotFoundException"),
        (second, "LayerAlreadyExistsException"),
    ):
        digest = str(Digest.of(b"y")) if begun == wrong else DIGEST
        given = {"uploadId": begun, "layerDigests": [digest]}
        assert (await ecr.refused("complete_layer_upload", repositoryName=repository, **given))[0] == code


class TestToTheLetter:
    @pytest.fixture
    def settings(self) -> Settings:
        return ECR

    async def test_parts_before_the_last_have_five_mebibytes(self, api: Bench, ecr: Client, repository: str) -> None:
        begun = await upload(ecr, LAYER, LAYER)
        given = {"repositoryName": repository, "uploadId": begun, "layerDigests": [str(Digest.of(LAYER + LAYER))]}

        assert api.services.identity.ecr
        assert (await ecr.refused("complete_layer_upload", **given))[0] == "LayerPartTooSmallException"
