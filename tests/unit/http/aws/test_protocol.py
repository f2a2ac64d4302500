"""AWS JSON 1.1: bodies that are read, bodies that are not, and what is written."""

import base64
import json

import pytest

from proxy.http.aws.pages import key_before, token_after
from proxy.http.aws.protocol import Codec
from proxy.model.api_errors import ApiError, ApiErrorCode

ECR = Codec("ecr")
SECRETS = Codec("secretsmanager")
DIGEST = f"sha256:{'ab' * 32}"
UPLOAD = "11111111-2222-4333-8444-555555555555"


def refused(body: bytes, operation: str = "CreateRepository") -> tuple[ApiErrorCode, str]:
    with pytest.raises(ApiError) as caught:
        ECR.decode(operation, body)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"registryId": null}', b'{"aLaterMember": [1, {}]}'])
def test_a_request_may_give_nothing(body: bytes) -> None:
    assert ECR.decode("DescribeRepositories", body) == {}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"anything": 1}'])
def test_an_operation_without_members_takes_any_object(body: bytes) -> None:
    assert ECR.decode("DescribeRegistry", body) == {}


def test_text_of_every_kind_arrives_as_it_is() -> None:
    given = {"resourceArn": 'quote " slash \\ \u0000 é 🚢', "tags": [{"Key": "", "Value": " "}]}
    assert ECR.decode("TagResource", json.dumps(given).encode()) == given
    assert ECR.decode("TagResource", json.dumps(given, ensure_ascii=False).encode()) == given


def test_blobs_are_bytes_within_and_base64_outside() -> None:
    part = {"repositoryName": "team/app", "uploadId": UPLOAD, "partFirstByte": 0, "partLastByte": 3}
    encoded = base64.b64encode(b"\xff\xfb\xfe\x00").decode()
    assert "+" in encoded or "/" in encoded
    given = ECR.decode("UploadLayerPart", json.dumps(part | {"layerPartBlob": encoded}).encode())
    assert given["layerPartBlob"] == b"\xff\xfb\xfe\x00"
    told = SECRETS.encode("GetSecretValue", {"SecretBinary": b"\xff\xfb\xfe\x00"})
    assert json.loads(told) == {"SecretBinary": encoded}


def test_the_largest_numbers_of_the_model_arrive() -> None:
    part = {"repositoryName": "team/app", "uploadId": UPLOAD, "partFirstByte": 0, "partLastByte": (1 << 63) - 1}
    given = ECR.decode("UploadLayerPart", json.dumps(part | {"layerPartBlob": ""}).encode())
    assert given["partLastByte"] == (1 << 63) - 1
    assert given["layerPartBlob"] == b""


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}x",
        b"{'repositoryName': 'a'}",
        b"\xef\xbb\xbf{}",
        b'\xff\xfe{\x00}\x00"',
        b'{"repositoryName": "\xff"}',
        b'{"repositoryName": "\\ud800"}',
        b'{"repositoryName": "team/app", "repositoryName": "team/other"}',
        b'{"repositoryName": "team/app", "tags": [{"Key": "a", "Key": "b", "Value": "c"}]}',
        b'{"repositoryName": NaN}',
        b'{"repositoryName": -Infinity}',
        b"[" * 100_000,
        b'{"later":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"later": [' + b"0," * 200_000 + b"0]}",
        b"not JSON at all",
        b"Action=DescribeRepositories&Version=2015-09-21",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b"true",
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
@pytest.mark.parametrize("operation", ["CreateRepository", "DescribeRegistry"])
def test_what_is_no_object_on_which_all_readers_agree_is_refused(body: bytes, operation: str) -> None:
    code, message = refused(body, operation)
    assert code is ApiErrorCode.SerializationException
    assert message.startswith("the body ")
    assert len(message) < 200


def test_an_unfit_member_is_told_in_the_words_of_ecr() -> None:
    code, message = refused(b'{"repositoryName": "a"}')
    assert code is ApiErrorCode.InvalidParameterException
    constraint = "Member must have length greater than or equal to 2"
    assert message == f"Invalid parameter at 'repositoryName' failed to satisfy constraint: '{constraint}'"


@pytest.mark.parametrize("codec", [ECR, SECRETS], ids=["ecr", "secretsmanager"])
def test_every_operation_with_members_lists_the_exception_that_names_them(codec: Codec) -> None:
    for name in codec.operations:
        shape = codec.operation(name).input_shape
        if shape is not None and shape.members:
            assert ApiErrorCode.InvalidParameterException.name in codec.exceptions(name), name


@pytest.mark.parametrize("name", ["", "Create", "createrepository", "CreateRepository ", "__class__", "é"])
def test_an_unknown_operation_is_told_so(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        ECR.decode(name, b"{}")
    assert caught.value.code is ApiErrorCode.UnknownOperationException


def test_answers_leave_out_what_is_none_at_every_depth() -> None:
    rule = {"ecrRepositoryPrefix": "quay", "createdAt": 1.5, "credentialArn": None}
    told = ECR.encode("DescribePullThroughCacheRules", {"pullThroughCacheRules": [rule], "nextToken": None})
    assert json.loads(told) == {"pullThroughCacheRules": [{"ecrRepositoryPrefix": "quay", "createdAt": 1.5}]}


def test_an_answer_of_nothing_is_an_empty_object() -> None:
    assert ECR.encode("TagResource", {}) == b"{}"


def test_a_member_that_the_model_does_not_know_is_our_fault() -> None:
    with pytest.raises(KeyError):
        ECR.encode("DescribeRepositories", {"repositorys": []})


def test_no_answer_holds_a_number_that_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        ECR.encode("CreatePullThroughCacheRule", {"createdAt": float("nan")})


@pytest.mark.parametrize("key", ["a", "team/app", "é 🚢", "x" * 300])
def test_a_token_leads_to_its_key(key: str) -> None:
    assert key_before(token_after(key)) == key


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_the_beginning(token: str | None) -> None:
    assert key_before(token) == ""


@pytest.mark.parametrize("token", ["?", "a", "é", "YQ==\n", "/w==", "_w==", "\u0661", "A" * 2000])
def test_a_token_that_was_never_given_is_refused_by_name(token: str) -> None:
    with pytest.raises(ApiError) as caught:
        key_before(token)
    assert caught.value.code is ApiErrorCode.InvalidParameterException
    assert "'nextToken'" in caught.value.message
