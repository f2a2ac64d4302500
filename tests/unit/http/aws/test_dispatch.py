"""What ``POST /`` is and what it is not: services, operations, bodies, connections, and errors of every kind."""

import asyncio
import gzip
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import MirrorSettings, ServerSettings
from proxy.core.access.caller import Caller
from proxy.core.offloading import Offloader
from proxy.core.ports import RepositoryUnknownError, StorageFullError
from proxy.core.registry.administration import Administration
from proxy.http.aws import ecr, secretsmanager
from proxy.http.aws.dispatch import Api
from proxy.http.aws.ecr.refused import SENTENCES
from proxy.http.aws.errors import Refusal, translate
from proxy.http.aws.operations import ApiCall, State
from proxy.http.aws.protocol import Codec
from proxy.http.aws.sts import identity
from proxy.http.server import Server
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.unit.http.aws.conftest import Boto
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import RawAnswer, exchange, parse

ECR = "AmazonEC2ContainerRegistry_V20150921"
AMZ = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded"
STS = "{https://sts.amazonaws.com/doc/2011-06-15/}"
DESCRIBE = f"{ECR}.DescribeRepositories"


@dataclass
class Connection:
    """One connection to the registry, kept as long as the server keeps it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(
        self,
        target: str | None = DESCRIBE,
        body: bytes = b"{}",
        *,
        kind: str | None = AMZ,
        fields: str = "",
        head: str = "POST /",
    ) -> RawAnswer:
        """Send a request and return its answer; `fields` may replace the Content-Length."""
        told = "" if target is None else f"X-Amz-Target: {target}\r\n"
        told += "" if kind is None else f"Content-Type: {kind}\r\n"
        if "Transfer-Encoding" not in fields and "Content-Length" not in fields:
            told += f"Content-Length: {len(body)}\r\n"
        request = f"{head} HTTP/1.1\r\nHost: localhost\r\n{told}{fields}\r\n"
        self.writer.write(request.encode("utf-8", "surrogateescape") + body)
        return await self.answer()

    async def answer(self) -> RawAnswer:
        """Read one answer."""
        top = await self.reader.readuntil(b"\r\n\r\n")
        found = parse(top)
        return RawAnswer(
            found.status, found.headers, await self.reader.readexactly(int(found.headers["Content-Length"]))
        )


def error_of(answer: RawAnswer) -> tuple[int, str, str]:
    """Return status, name and message of an error, which every SDK reads."""
    told = json.loads(answer.body)
    assert set(told) == {"__type", "message"}
    assert answer.headers["Content-Type"] == AMZ
    assert answer.headers["x-amzn-ErrorType"] == told["__type"]
    assert answer.headers["x-amzn-RequestId"] == answer.headers["X-Request-ID"]
    return answer.status, told["__type"], told["message"]


@pytest.fixture
async def server(stack: Stack, services: Administration) -> AsyncIterator[Server]:
    api = await asyncio.to_thread(Api, services, Offloader())
    serving = replace(stack.serving(ServerSettings(port=0)), api=api)
    async with Server(serving, [MirrorSettings(port=0, rule="quay")]) as running:
        yield running


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[Connection]:
    made = Connection(*await asyncio.open_connection(*server.address))
    yield made
    made.writer.close()


@pytest.fixture
def call(services: Administration) -> ApiCall:
    return ApiCall(services, services.identity, "http://localhost:5000", Caller(), "id")


async def test_an_answer_carries_the_id_that_the_log_has(connection: Connection) -> None:
    with capture_logs() as logs:
        answer = await connection.send()
    assert (answer.status, json.loads(answer.body)) == (200, {"repositories": []})
    assert answer.headers["Content-Type"] == AMZ
    (event,) = [entry for entry in logs if entry["event"] == "request.answered"]
    assert answer.headers["x-amzn-RequestId"] == event["request_id"]
    assert (event["kind"], event["reference"], event["status"]) == ("ecr", "DescribeRepositories", 200)


async def test_the_name_of_an_error_is_in_the_log(connection: Connection) -> None:
    with capture_logs() as logs:
        await connection.send(f"{ECR}.DescribeImageScanFindings")
        await connection.send("secretsmanager.DescribeSecret")
        await connection.send("nonsense")
    told = [entry for entry in logs if entry["event"] == "request.answered"]
    assert [(entry["kind"], entry["reference"], entry["error"]) for entry in told] == [
        ("ecr", "DescribeImageScanFindings", "UnsupportedOperationException"),
        ("secretsmanager", "DescribeSecret", "InvalidParameterException"),
        ("aws", None, "UnknownOperationException"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "",
        "x",
        ".",
        f"{ECR}",
        f"{ECR}.",
        f"{ECR}.Nonsense",
        f"{ECR}.describerepositories",
        f"{ECR}.DescribeRepositories.DescribeRepositories",
        f"{ECR} .DescribeRepositories",
        f"{ECR.lower()}.DescribeRepositories",
        "AmazonEC2ContainerRegistry_V20990101.DescribeRepositories",
        "AWSSecurityTokenServiceV20110615.GetCallerIdentity",
        "secretsmanager.DescribeRepositories",
        f"{ECR}.{'x' * 5000}",
        f"{ECR}.\udcff\udcfe",
        "DynamoDB_20120810.ListTables",
    ],
)
async def test_a_target_that_names_no_operation_is_told_so(connection: Connection, target: str) -> None:
    status, name, _ = error_of(await connection.send(target))
    assert (status, name) == (400, "UnknownOperationException")


async def test_several_targets_are_none(connection: Connection) -> None:
    answer = await connection.send(fields=f"X-Amz-Target: {ECR}.DeleteRegistryPolicy\r\n")
    assert error_of(answer) == (
        400,
        "UnknownOperationException",
        "the request names several operations (X-Amz-Target)",
    )


@pytest.mark.parametrize("kind", [AMZ, None, "application/json", "text/plain", "application/cbor"])
async def test_without_a_target_there_is_no_operation(connection: Connection, kind: str | None) -> None:
    answer = await connection.send(None, b'{"Action": "GetCallerIdentity"}', kind=kind)
    assert error_of(answer) == (400, "UnknownOperationException", "the request names no operation (X-Amz-Target)")


@pytest.mark.parametrize(
    "kind", [AMZ, "application/x-amz-json-1.0", "application/json", f"{AMZ}; charset=utf-8", AMZ.upper(), None]
)
async def test_types_that_say_json_are_taken(connection: Connection, kind: str | None) -> None:
    assert (await connection.send(kind=kind)).status == 200


@pytest.mark.parametrize("kind", [FORM, "text/plain", "application/cbor", "multipart/form-data; boundary=a"])
async def test_what_is_no_json_by_its_type_is_not_read_as_such(connection: Connection, kind: str) -> None:
    status, name, message = error_of(await connection.send(kind=kind))
    assert (status, name) == (400, "SerializationException")
    assert AMZ in message


async def test_a_connection_goes_on_after_each_kind_of_error(connection: Connection) -> None:
    for target, body, kind in [
        ("nonsense", b"{}", AMZ),
        (DESCRIBE, b"{", AMZ),
        (DESCRIBE, b"{}", "text/plain"),
        (DESCRIBE, b'{"maxResults": 0}', AMZ),
        (f"{ECR}.StartImageScan", b"{}", AMZ),
        (f"{ECR}.DeleteRegistryPolicy", b"{}", AMZ),
        (None, b"Action=Nonsense", FORM),
    ]:
        assert (await connection.send(target, body, kind=kind)).status == 400
    assert (await connection.send()).status == 200


async def test_a_body_in_chunks_is_read_whole(connection: Connection) -> None:
    body = b'5\r\n{"max\r\na\r\nResults": \r\n2\r\n0}\r\n0\r\n\r\n'
    status, _, message = error_of(await connection.send(body=body, fields="Transfer-Encoding: chunked\r\n"))
    assert status == 400
    assert "'maxResults'" in message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "aws-chunked", "identity, gzip"])
async def test_an_encoded_body_is_refused_and_never_decoded(connection: Connection, encoding: str) -> None:
    body = gzip.compress(b" " * 10_000_000 + b"{}")
    status, name, message = error_of(await connection.send(body=body, fields=f"Content-Encoding: {encoding}\r\n"))
    assert (status, name) == (400, "InvalidParameterException")
    assert "Content-Encoding" in message
    assert (await connection.send()).status == 200


async def test_a_body_that_is_announced_too_large_is_not_asked_for(connection: Connection) -> None:
    answer = await connection.send(fields="Content-Length: 1048577\r\nExpect: 100-continue\r\n", body=b"")
    assert error_of(answer) == (400, "InvalidParameterException", "the body is larger than 1048576 bytes")


async def test_a_body_that_is_waited_for_is_asked_for(connection: Connection) -> None:
    connection.writer.write(
        f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: {DESCRIBE}\r\nContent-Type: {AMZ}\r\n"
        "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.writer.write(b"{}")
    assert (await connection.answer()).status == 200


async def test_a_body_that_grows_too_large_is_given_up(connection: Connection) -> None:
    chunk = b"10000\r\n" + b" " * (1 << 16) + b"\r\n"
    answer = await connection.send(body=chunk * 17 + b"0\r\n\r\n", fields="Transfer-Encoding: chunked\r\n")
    assert error_of(answer) == (400, "InvalidParameterException", "the body is larger than 1048576 bytes")


async def test_operations_with_content_take_more(connection: Connection) -> None:
    body = json.dumps({"repositoryName": "team/app", "imageManifest": "x" * ((4 << 20) + 1)}).encode()
    status, name, message = error_of(await connection.send(f"{ECR}.PutImage", body))
    assert (status, name) == (400, "InvalidParameterException")
    assert "'imageManifest'" in message


@pytest.mark.parametrize(
    "head", ["GET /", "HEAD /", "PUT /", "DELETE /", "OPTIONS /", "PATCH /", "POST //", "POST /x", "POST /quay/"]
)
async def test_only_post_of_the_root_is_the_api(server: Server, head: str) -> None:
    answer = await exchange(server.address, head, fields=f"X-Amz-Target: {DESCRIBE}\r\nContent-Length: 0\r\n")
    assert answer.status == 404
    assert "x-amzn-RequestId" not in answer.headers


async def test_a_presigned_query_is_no_call(server: Server) -> None:
    answer = await exchange(server.address, "GET /?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Signature=00")
    assert answer.status == 404


async def test_a_mirror_has_no_api(server: Server) -> None:
    fields = f"X-Amz-Target: {DESCRIBE}\r\nContent-Length: 0\r\n"
    assert (await exchange(server.mirror_addresses["quay"], "POST /", fields=fields)).status == 404
    assert (await exchange(server.address, "POST /", fields=fields)).status == 200


async def test_a_registry_without_the_api_has_nothing_there(stack: Stack) -> None:
    async with Server(stack.serving(ServerSettings(port=0))) as running:
        answer = await exchange(running.address, "POST /", fields=f"X-Amz-Target: {DESCRIBE}\r\nContent-Length: 0\r\n")
    assert answer.status == 404


async def test_another_host_is_refused_before_anything_is_read(server: Server) -> None:
    fields = f"X-Amz-Target: {DESCRIBE}\r\nContent-Length: 0\r\n"
    assert (await exchange(server.address, "POST /", host="evil.test", fields=fields)).status == 421


async def test_a_client_that_leaves_is_no_fault_of_ours(server: Server, connection: Connection) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    with capture_logs() as logs:
        writer.write(
            f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: {DESCRIBE}\r\nContent-Type: {AMZ}\r\n"
            "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.transport.abort()
        assert (await connection.send()).status == 200
    assert "request.failed" not in {entry["event"] for entry in logs}


# --- operations that are not offered ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SENTENCES)
@pytest.mark.parametrize("body", [b"{}", b'{"repositoryName": 7}', b"no JSON"])
async def test_a_refused_operation_names_itself_whatever_it_is_asked(
    services: Administration, call: ApiCall, name: str, body: bytes
) -> None:
    with pytest.raises(ApiError) as caught:
        await (await asyncio.to_thread(Api, services, Offloader())).invoke(call, f"{ECR}.{name}", body)
    assert caught.value.code is ApiErrorCode.UnsupportedOperationException
    assert caught.value.code.status == 400
    assert caught.value.message.startswith(f"{name} is not offered: this registry ")


async def test_operations_that_nobody_wrote_are_told_by_name(services: Administration, call: ApiCall) -> None:
    api = await asyncio.to_thread(Api, services, Offloader())
    missing = Codec("secretsmanager").operations - set(secretsmanager.OPERATIONS)
    assert missing
    for name in missing:
        with pytest.raises(ApiError) as caught:
            await api.invoke(call, f"secretsmanager.{name}", b"{}")
        assert caught.value.code is ApiErrorCode.UnsupportedOperationException
        assert caught.value.message == f"this registry does not offer {name}"


def test_every_operation_of_ecr_is_written_or_refused() -> None:
    assert set(ecr.OPERATIONS) == Codec("ecr").operations
    assert {name for name, operation in ecr.OPERATIONS.items() if operation.state is State.REFUSED} == set(SENTENCES)


def test_what_is_refused_says_what_there_is_instead() -> None:
    for name, sentence in SENTENCES.items():
        assert re.fullmatch(r"this registry [^.]{20,}", sentence), name


# --- what goes wrong behind the surface ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "fault"), [(DESCRIBE, "ServerException"), ("secretsmanager.ListSecrets", "InternalServiceError")]
)
async def test_a_fault_of_ours_tells_nothing_but_its_name(
    stack: Stack, services: Administration, target: str, fault: str
) -> None:
    broken: Any = None
    api = await asyncio.to_thread(Api, replace(services, repositories=broken, secrets=broken), Offloader())
    async with Server(replace(stack.serving(ServerSettings(port=0)), api=api)) as running:
        connection = Connection(*await asyncio.open_connection(*running.address))
        with capture_logs() as logs:
            answer = await connection.send(target)
        connection.writer.close()
    status, name, message = error_of(answer)
    assert (status, name) == (500, fault)
    assert message == ApiErrorCode[fault].message
    assert "NoneType" not in answer.body.decode()
    (event,) = [entry for entry in logs if entry["event"] == "request.failed"]
    assert event["exc_info"]
    assert event["request_id"] == answer.headers["x-amzn-RequestId"]


class FullStore(MemoryMetadataStore):
    """The store of a disk that is full."""

    async def create_repository(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - whatever it is asked
        raise StorageFullError("no space left on device")


class TestFullDisk:
    @pytest.fixture
    def metadata(self) -> MemoryMetadataStore:
        return FullStore()

    async def test_a_full_disk_is_said_to_pass(self, connection: Connection) -> None:
        answer = await connection.send(f"{ECR}.CreateRepository", b'{"repositoryName": "team/app"}')
        status, name, message = error_of(answer)
        assert (status, name) == (503, "ServiceUnavailable")
        assert "device" not in message


FAULT = ApiErrorCode.ServerException


@pytest.mark.parametrize(
    ("error", "listed", "expected"),
    [
        (ProxyError(ErrorCode.NAME_INVALID, "bad"), "CreateRepository", "InvalidParameterException"),
        (ProxyError(ErrorCode.NAME_UNKNOWN, "gone"), "DeleteRepository", "RepositoryNotFoundException"),
        (ProxyError(ErrorCode.NAME_UNKNOWN, "gone"), "GetAuthorizationToken", "InvalidParameterException"),
        (ProxyError(ErrorCode.MANIFEST_UNKNOWN, "none"), "DescribeImages", "ImageNotFoundException"),
        (ProxyError(ErrorCode.MANIFEST_UNKNOWN, "none"), "ListImages", "InvalidParameterException"),
        (ProxyError(ErrorCode.BLOB_UNKNOWN, "none"), "GetDownloadUrlForLayer", "LayersNotFoundException"),
        (ProxyError(ErrorCode.BLOB_UPLOAD_UNKNOWN, "none"), "UploadLayerPart", "UploadNotFoundException"),
        (ProxyError(ErrorCode.BLOB_UPLOAD_INVALID, "gap"), "UploadLayerPart", "InvalidLayerPartException"),
        (ProxyError(ErrorCode.MANIFEST_BLOB_UNKNOWN, "layer"), "PutImage", "LayersNotFoundException"),
        (ProxyError(ErrorCode.UPSTREAM_TIMEOUT, "slow"), "BatchGetImage", "UnableToGetUpstreamImageException"),
        (ProxyError(ErrorCode.UPSTREAM_TIMEOUT, "slow"), "DescribeImages", "ServiceUnavailable"),
        (ProxyError(ErrorCode.UPSTREAM_INVALID, "html"), "DescribeImages", "ServerException"),
        (ProxyError(ErrorCode.UPSTREAM_INVALID, "x"), "GetDownloadUrlForLayer", "UnableToGetUpstreamLayerException"),
        (ProxyError(ErrorCode.DENIED, "no"), "ListImageReferrers", "UnableToListUpstreamImageReferrersException"),
        (ProxyError(ErrorCode.DENIED, "no"), "PutImage", "InvalidParameterException"),
        (ProxyError(ErrorCode.TOOMANYREQUESTS, "later"), "DescribeImages", "ServiceUnavailable"),
        (ProxyError(ErrorCode.UNAVAILABLE, "closing"), "PutImage", "ServiceUnavailable"),
        (ProxyError(ErrorCode.STORAGE_FULL, "full"), "PutImage", "ServiceUnavailable"),
        (StorageFullError("/secret/path"), "PutImage", "ServiceUnavailable"),
        (RepositoryUnknownError(), "PutImage", "RepositoryNotFoundException"),
        (ProxyError(ErrorCode.UNKNOWN, "a secret"), "PutImage", "ServerException"),
    ],
)
def test_what_core_refuses_has_a_name_in_the_api(error: Refusal, listed: str, expected: str) -> None:
    told = translate(error, FAULT, Codec("ecr").exceptions(listed))
    assert told.code.name == expected
    assert "secret" not in told.message
    if isinstance(error, ProxyError) and error.code is not ErrorCode.UNKNOWN:
        assert told.message == error.message


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_of_core_has_a_name_that_the_model_lists_or_every_service_answers(code: ErrorCode) -> None:
    codec = Codec("ecr")
    for name in codec.operations:
        listed = codec.exceptions(name)
        told = translate(ProxyError(code), FAULT, listed)
        common = {"ServiceUnavailable", "InvalidParameterException"}
        assert told.code.name in listed | common
        assert (told.code.status >= 500) >= (code is ErrorCode.UNKNOWN)


# --- STS ----------------------------------------------------------------------------------------------------------


async def test_boto3_is_told_who_it_is(boto: Boto) -> None:
    assert await boto("sts")("get_caller_identity") == {
        "UserId": "000000000000",
        "Account": "000000000000",
        "Arn": "arn:aws:iam::000000000000:root",
    }


async def test_boto3_understands_what_sts_refuses(boto: Boto) -> None:
    code, message = await boto("sts").refused("get_session_token")
    assert code == "UnsupportedOperationException"
    assert "GetCallerIdentity" in message


def test_a_name_is_written_so_that_it_stays_text(call: ApiCall) -> None:
    named = replace(call, caller=Caller(Principal("<a> & b")))
    answer = identity.answer(named, b"Action=GetCallerIdentity")
    assert isinstance(answer.body, bytes)
    told = ET.fromstring(answer.body)  # noqa: S314 - made by this program
    assert told.findtext(f".//{STS}Arn") == "arn:aws:iam::000000000000:user/<a> & b"
    assert told.findtext(f".//{STS}UserId") == "<a> & b"


@pytest.mark.parametrize("head", ["POST /", "POST /?Action=GetCallerIdentity&Version=2011-06-15"])
async def test_the_query_protocol_in_body_or_target(connection: Connection, head: str) -> None:
    body = b"" if "?" in head else b"Action=GetCallerIdentity&Version=2011-06-15"
    answer = await connection.send(None, body, kind=f"{FORM}; charset=utf-8", head=head)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/xml")
    told = ET.fromstring(answer.body)  # noqa: S314 - made by this program
    assert told.tag == f"{STS}GetCallerIdentityResponse"
    assert told.findtext(f".//{STS}Account") == "000000000000"
    assert told.findtext(f".//{STS}RequestId") == answer.headers["x-amzn-RequestId"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "UnknownOperationException"),
        (b"Action=", "UnknownOperationException"),
        (b"Action=<GetCallerIdentity>&a=%00", "UnsupportedOperationException"),
        (b"Action=DescribeRepositories&Version=2015-09-21", "UnsupportedOperationException"),
        (b"Action=\xff\xfe", "SerializationException"),
        (b"&".join(b"a%d=1" % number for number in range(300)), "SerializationException"),
        (b"Action=%FF", "UnsupportedOperationException"),
        (b"x" * ((1 << 20) + 1), "InvalidParameterException"),
    ],
)
async def test_queries_that_are_none_are_refused_as_queries(connection: Connection, body: bytes, code: str) -> None:
    answer = await connection.send(None, body, kind=FORM)
    told = ET.fromstring(answer.body)  # noqa: S314 - made by this program
    assert answer.status == 400
    assert told.tag == f"{STS}ErrorResponse"
    assert told.findtext(f".//{STS}Code") == code
    assert told.findtext(f".//{STS}Type") == "Sender"
    assert told.findtext(f"{STS}RequestId") == answer.headers["x-amzn-RequestId"]
