"""Signed calls over TCP, as boto3 and raw clients make them: who is answered, and what the others are told."""

import asyncio
import base64
import json
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from proxy.config.auth import GrantSettings
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.grants import GrantBook, Grants
from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.access.policies import PolicyAuthorizer
from proxy.core.access.tokens import BearerTokens
from proxy.core.clock import SystemClock
from proxy.core.offloading import Offloader
from proxy.core.registry.administration import Administration
from proxy.core.rules import RuleBook
from proxy.http.aws.access import Guard
from proxy.http.aws.dispatch import Api
from proxy.http.aws.signatures import Signatures
from proxy.model.access import Action
from proxy.model.access_keys import AccessKey
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.clock import FakeClock
from tests.support.signing import ANN, BOB, ECR, JSON, KnownKeys, Sent, Signer, botocore_at
from tests.unit.http.aws.conftest import Client
from tests.unit.http.aws.contents import Contents
from tests.unit.http.raw import RawAnswer, exchange, parse

LIST = f"{ECR}.DescribeRepositories"
CALLER = "Action=GetCallerIdentity&Version=2011-06-15"
STS = "{https://sts.amazonaws.com/doc/2011-06-15/}"


@dataclass
class Server:
    """A registry that asks who its callers are. ann may everything, bob may pull; a certificate names carol.

    `shown` is whom client certificates name. `counted` are the callers whose requests were counted, and `full` tells
    to admit none.
    """

    address: tuple[str, int]
    services: Administration
    shown: Principal | None = None
    full: bool = False
    counted: list[Caller] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def client(self, service: str, key: AccessKey = ANN, region: str = "us-east-1") -> Client:
        return Client(service, f"http://{self.host}", region, key=key)

    def signer(self, key: AccessKey = ANN, service: str = "ecr") -> Signer:
        return Signer(key, service=service, host=self.host)

    async def send(self, sent: Sent) -> RawAnswer:
        """Send a request exactly as it is, and return the answer."""
        reader, writer = await asyncio.open_connection(*self.address)
        fields = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items() if name != "Content-Length")
        length = f"Content-Length: {len(sent.body)}\r\n"
        head = f"{sent.method} {sent.target} HTTP/1.1\r\n{fields}{length}Connection: close\r\n\r\n"
        writer.write(head.encode("utf-8", "surrogateescape") + sent.body)
        received = await reader.read()
        writer.close()
        return parse(received)

    def admit(self, caller: Caller) -> None:
        self.counted.append(caller)
        if self.full:
            raise ProxyError(ErrorCode.TOOMANYREQUESTS, "send fewer")


@pytest.fixture
async def server(
    services: Administration, metadata: MemoryMetadataStore, book: RuleBook, contents: Contents
) -> AsyncIterator[Server]:
    clock = SystemClock()
    grants = Grants(
        [
            GrantSettings(principals=("ann", "carol"), actions=tuple(Action)),
            GrantSettings(principals=("bob",), actions=(Action.PULL,)),
        ]
    )
    authorizer = PolicyAuthorizer(
        GrantBook(grants), PolicyDocuments(metadata), book, services.identity, FakeClock(clock.now())
    )
    made = Server(("", 0), services)

    def certificate(_: web.Request) -> Principal | None:
        return made.shown

    signatures, tickets = Signatures(KnownKeys(ANN, BOB), clock, "us-east-1"), BearerTokens(b"t" * 32, clock)
    guard = Guard(signatures, authorizer, book, Offloader(), made.admit, tickets, certificate)
    api = await asyncio.to_thread(Api, services, Offloader(), None, guard)
    async with TestServer(contents.application(api)) as running:
        made.address = ("127.0.0.1", running.port or 0)
        yield made


def error_of(answer: RawAnswer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["__type"]


@contextmanager
def clock_off_by(seconds: float) -> Iterator[None]:
    with botocore_at(time.time() + seconds):
        yield


# --- boto3 ----------------------------------------------------------------------------------------------------------


async def test_a_right_signature_is_answered(server: Server) -> None:
    ecr, secrets = server.client("ecr"), server.client("secretsmanager")
    await ecr("create_repository", repositoryName="team/app")
    assert [one["repositoryName"] for one in (await ecr("describe_repositories"))["repositories"]] == ["team/app"]
    await secrets("create_secret", Name="ecr-pullthroughcache/one", SecretString="x")
    assert (await secrets("get_secret_value", SecretId="ecr-pullthroughcache/one"))["SecretString"] == "x"


async def test_who_may_not_is_told_what_and_on_what(server: Server) -> None:
    account = server.services.identity.account
    bob = server.client("ecr", BOB)
    assert (await bob("describe_repositories"))["repositories"] == []
    assert await bob.refused("create_repository", repositoryName="team/app") == (
        "AccessDeniedException",
        (
            f"User: arn:aws:iam::{account}:user/bob is not authorized to perform: ecr:CreateRepository on resource: "
            f"arn:aws:ecr:us-east-1:{account}:repository/team/app"
        ),
    )


@pytest.mark.parametrize(
    ("key", "code", "sts"),
    [
        (replace(ANN, secret="another-secret-0"), "InvalidSignatureException", "SignatureDoesNotMatch"),
        (replace(ANN, id="AKIANOBODY000000"), "UnrecognizedClientException", "InvalidClientTokenId"),
    ],
)
async def test_a_key_that_is_not_right_is_told_so(server: Server, key: AccessKey, code: str, sts: str) -> None:
    assert (await server.client("ecr", key).refused("describe_repositories"))[0] == code
    assert (await server.client("secretsmanager", key).refused("list_secrets"))[0] == code
    assert (await server.client("sts", key).refused("get_caller_identity"))[0] == sts


@pytest.mark.parametrize(("off", "word"), [(-3600, "Signature expired: "), (3600, "Signature not yet current: ")])
async def test_a_clock_that_is_off_is_told_the_time(server: Server, off: float, word: str) -> None:
    for service, operation, code in (
        ("ecr", "describe_repositories", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
    ):
        with clock_off_by(off):
            found, message = await server.client(service).refused(operation)
        assert (found, message.startswith(word)) == (code, True)


async def test_a_clock_that_is_a_little_off_does_not_matter(server: Server) -> None:
    with clock_off_by(-200):
        assert await server.client("ecr")("describe_repositories")


async def test_another_region_is_told(server: Server) -> None:
    assert await server.client("ecr", region="eu-west-1").refused("describe_repositories") == (
        "InvalidSignatureException",
        "Credential should be scoped to a valid region, not 'eu-west-1'.",
    )
    assert (await server.client("sts", region="eu-west-1").refused("get_caller_identity"))[0] == "SignatureDoesNotMatch"


async def test_a_signature_for_another_service_is_no_good(server: Server) -> None:
    answer = await server.send(server.signer(service="sts").call(LIST, b"{}", time.time()))
    assert error_of(answer) == (400, "InvalidSignatureException")
    assert "correct service: 'ecr'" in answer.body.decode()


async def test_callers_are_told_who_they_are(server: Server) -> None:
    account = server.services.identity.account
    assert await server.client("sts", BOB)("get_caller_identity") == {
        "UserId": "bob",
        "Account": account,
        "Arn": f"arn:aws:iam::{account}:user/bob",
    }


async def test_a_password_names_its_caller(server: Server) -> None:
    (entry,) = (await server.client("ecr", BOB)("get_authorization_token"))["authorizationData"]
    user, password = base64.b64decode(entry["authorizationToken"]).decode().split(":")
    assert (user, server.services.passwords.verify(password)) == ("AWS", "bob")


async def test_a_presigned_url_tells_anyone_whose_it_is(server: Server) -> None:
    url = await server.client("sts", BOB).presigned("get_caller_identity", 60)

    def fetch(target: str, method: str = "GET") -> tuple[int, ET.Element]:
        request = urllib.request.Request(target, method=method)  # noqa: S310 - loopback only
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback only
                return answer.status, ET.fromstring(answer.read())  # noqa: S314 - made by this program
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ET.fromstring(error.read())  # noqa: S314 - as above

    status, told = await asyncio.to_thread(fetch, url)
    assert (status, told.findtext(f".//{STS}UserId")) == (200, "bob")
    status, told = await asyncio.to_thread(fetch, url.replace("GetCallerIdentity", "GetSessionToken"))
    assert (status, told.findtext(f".//{STS}Code")) == (403, "SignatureDoesNotMatch")
    assert (await asyncio.to_thread(fetch, url, "POST"))[0] == 403
    post = await server.client("sts", BOB).presigned("get_caller_identity", 60, "POST")
    assert (await asyncio.to_thread(fetch, post, "POST"))[0] == 200
    with clock_off_by(-120):
        old = await server.client("sts", BOB).presigned("get_caller_identity", 60)
    status, told = await asyncio.to_thread(fetch, old)
    assert (status, (told.findtext(f".//{STS}Message") or "").startswith("Signature expired: ")) == (403, True)


# --- who is not signed ----------------------------------------------------------------------------------------------


async def test_without_credentials_nothing_is_answered(server: Server) -> None:
    fields = f"X-Amz-Target: {LIST}\r\nContent-Type: {JSON}\r\nContent-Length: 0\r\n"
    answer = await exchange(server.address, "POST /", fields=fields)
    assert error_of(answer) == (400, "MissingAuthenticationTokenException")
    fields = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n"
    answer = await exchange(server.address, f"POST /?{CALLER}", fields=fields)
    told = ET.fromstring(answer.body)  # noqa: S314 - made by this program
    assert (answer.status, told.findtext(f".//{STS}Code")) == (403, "MissingAuthenticationToken")
    assert told.findtext(f".//{STS}Message") == "Request is missing Authentication Token"


@pytest.mark.parametrize("authorization", ["Basic QVdTOnBhc3N3b3Jk", "Bearer token", "AWS4-HMAC-SHA256 x"])
async def test_other_credentials_are_no_signature(server: Server, authorization: str) -> None:
    fields = f"X-Amz-Target: {LIST}\r\nContent-Type: {JSON}\r\nAuthorization: {authorization}\r\nContent-Length: 0\r\n"
    answer = await exchange(server.address, "POST /", fields=fields)
    assert error_of(answer) == (400, "IncompleteSignatureException")
    assert "QVdTOnBhc3N3b3Jk" not in answer.body.decode()


@pytest.mark.parametrize("head", ["GET /", f"GET /?{CALLER}", "HEAD /?X-Amz-Signature=0", "PUT /?X-Amz-Signature=0"])
async def test_a_get_without_signature_is_no_call(server: Server, head: str) -> None:
    answer = await exchange(server.address, head)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")


async def test_bytes_that_are_no_text_are_no_fault_of_ours(server: Server) -> None:
    for name in ("Accept", "X-Amz-Target", "X-Amz-Date", "Content-Type", "Host", "Authorization"):
        sent = server.signer().call(LIST, b"{}", time.time(), Accept="x")
        sent.headers[name] += "\udcff"
        assert (await server.send(sent)).status in {400, 421}
    presigned = server.signer(service="sts").presign(f"/?{CALLER}", time.time())
    presigned.target += "&x=\udcff"
    assert (await server.send(presigned)).status in {400, 403}


@pytest.mark.parametrize("added", ["a=b", "X-Amz-Signatur%65=0", "x-amz-signature=0"])
async def test_nothing_is_added_to_the_query_of_a_request_that_is_signed_in_its_header(
    server: Server, added: str
) -> None:
    sent = server.signer().call(LIST, b"{}", time.time())
    assert (await server.send(sent)).status == 200
    sent.target = f"/?{added}"
    assert error_of(await server.send(sent)) == (400, "InvalidSignatureException")


async def test_get_may_be_signed_in_its_header_too(server: Server) -> None:
    sent = server.signer(service="sts").sign("GET", f"/?{CALLER}", {}, b"", time.time())
    answer = await server.send(sent)
    assert (answer.status, b"<UserId>ann</UserId>" in answer.body) == (200, True)


async def test_a_certificate_stands_in_for_a_signature(server: Server) -> None:
    server.shown = Principal("carol")
    unsigned = Sent(headers=server.signer().call(LIST, b"{}", time.time()).headers, body=b"{}")
    signature = unsigned.headers.popall("Authorization")[0]
    assert (await server.send(unsigned)).status == 200
    assert server.counted == [Caller(Principal("carol"), Scheme.CERTIFICATE, "127.0.0.1", secure=False)]
    # Who signs is judged by the signature, whatever certificate is shown.
    unsigned.headers["Authorization"] = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    assert error_of(await server.send(unsigned)) == (400, "InvalidSignatureException")


# --- when it is told ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signer", "off"),
    [
        (Signer(key=replace(ANN, id="AKIANOBODY000000")), 0),
        (Signer(region="eu-west-1"), 0),
        (Signer(service="sts"), 0),
        (Signer(), -3600),
    ],
)
async def test_what_the_headers_tell_is_told_before_the_body_is_asked_for(
    server: Server, signer: Signer, off: float
) -> None:
    sent = replace(signer, host=server.host).call(LIST, b"{}", time.time() + off)
    reader, writer = await asyncio.open_connection(*server.address)
    fields = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items() if name != "Content-Length")
    writer.write(f"POST / HTTP/1.1\r\n{fields}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_the_log_knows_who_it_was_and_no_secret(server: Server) -> None:
    with capture_logs() as logs:
        await server.client("ecr", BOB)("describe_repositories")
        await server.client("ecr", replace(BOB, secret="another-secret-0")).refused("describe_repositories")
        await server.client("ecr", replace(BOB, id="AKIANOBODY000000")).refused("describe_repositories")
    told = [entry for entry in logs if entry["event"] == "request.answered"]
    assert [(entry["error"], "AKIA" in str(entry["debug"])) for entry in told] == [
        (None, False),
        ("InvalidSignatureException", True),
        ("UnrecognizedClientException", True),
    ]
    assert not any(secret in repr(logs) for secret in (BOB.secret, "another-secret-0", "Signature="))


async def test_each_request_is_counted_once_whoever_made_it(server: Server) -> None:
    await server.client("ecr", BOB)("describe_repositories")
    await server.client("ecr", replace(BOB, secret="another-secret-0")).refused("describe_repositories")
    await server.client("ecr", replace(BOB, id="AKIANOBODY000000")).refused("describe_repositories")
    stranger = Caller(address="127.0.0.1")
    assert server.counted == [Caller(BOB.principal, Scheme.ACCESS_KEY, "127.0.0.1", secure=False), stranger, stranger]


async def test_who_calls_too_often_is_told_so_as_aws_does(server: Server) -> None:
    server.full = True
    assert await server.client("ecr").refused("describe_repositories") == (
        "ThrottlingException",
        "Rate exceeded: send fewer",
    )
    assert (await server.client("sts").refused("get_caller_identity"))[0] == "Throttling"
    assert (await server.client("ecr", replace(BOB, id="AKIANOBODY000000")).refused("describe_repositories"))[0] == (
        "ThrottlingException"
    )


async def test_clients_are_told_the_host_by_which_they_came(server: Server) -> None:
    sent = replace(server.signer(), host="registry.localhost:8443").call(
        f"{ECR}.GetAuthorizationToken", b"{}", time.time()
    )
    (entry,) = json.loads((await server.send(sent)).body)["authorizationData"]
    assert entry["proxyEndpoint"] == f"http://localhost:{server.address[1]}"
