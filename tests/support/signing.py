"""Requests to the AWS APIs, signed by botocore at any time one likes."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from proxy.http.aws.claims import Claim, read_claim
from proxy.http.trace import TRACE, Trace
from proxy.model.access_keys import AccessKey
from proxy.model.principal import Principal

ANN = AccessKey("AKIAANN0000000000", "the-secret-of-ann", Principal("ann"))
BOB = AccessKey("AKIABOB0000000000", "the-secret-of-bob", Principal("bob"))

JSON = "application/x-amz-json-1.1"
ECR = "AmazonEC2ContainerRegistry_V20150921"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


class KnownKeys:
    """The `AccessKeys` port over a fixed set."""

    def __init__(self, *keys: AccessKey) -> None:
        self._keys = {key.id: key for key in keys}

    def find(self, key: str) -> AccessKey | None:
        return self._keys.get(key)

    def knows(self, principal: Principal) -> bool:
        return any(key.principal == principal for key in self._keys.values())


@contextmanager
def botocore_at(now: float) -> Iterator[None]:
    """Let botocore sign as if it were another time."""
    told = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", return_value=told):
        yield


@dataclass
class Sent:
    """A request as it is sent; `target` is path and query."""

    method: str = "POST"
    target: str = "/"
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: bytes = b""

    def received(self, *, origin: str | None = None) -> web.Request:
        """Return the request as handlers see it."""
        request = make_mocked_request(self.method, self.target, self.headers)
        request[TRACE] = Trace("id", 0.0, "192.0.2.7", origin)
        return request

    def claim(self) -> Claim:
        """Return what the request claims of its signature."""
        claim = read_claim(self.received())
        assert claim is not None
        return claim


@dataclass(frozen=True)
class Signer:
    """Sign requests with one key, for one region and one service."""

    key: AccessKey = ANN
    region: str = "us-east-1"
    service: str = "ecr"
    host: str = "registry.test"
    token: str | None = None

    def call(self, operation: str, body: bytes, now: float, **more: str) -> Sent:
        """Return a request of AWS JSON, signed in its header; `more` are further headers, with _ for -."""
        fields = {name.replace("_", "-"): value for name, value in more.items()}
        return self.sign("POST", "/", {"X-Amz-Target": operation, "Content-Type": JSON, **fields}, body, now)

    def query(self, text: str, now: float) -> Sent:
        """Return a request of the query protocol, signed in its header."""
        return self.sign("POST", "/", {"Content-Type": FORM}, text.encode(), now)

    def sign(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Sent:
        request = self._request(method, target, headers, body)
        with botocore_at(now):
            SigV4Auth(self._credentials, self.service, self.region).add_auth(request)
        return Sent(method, target, CIMultiDict(_text(request.headers.items())), body)

    def presign(self, target: str, now: float, expires: int = 60, method: str = "GET") -> Sent:
        """Return a request without a body, signed in its query."""
        request = self._request(method, target, {}, b"")
        with botocore_at(now):
            SigV4QueryAuth(self._credentials, self.service, self.region, expires).add_auth(request)
        url = urlsplit(str(request.url))
        return Sent(method, f"{url.path}?{url.query}", CIMultiDict({"Host": self.host}))

    @property
    def _credentials(self) -> Credentials:
        return Credentials(self.key.id, self.key.secret, self.token)

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> AWSRequest:
        named = {"Host": self.host, **headers}
        return AWSRequest(method=method, url=f"http://{self.host}{target}", headers=named, data=body)


def _text(fields: Iterable[tuple[str, str | bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in fields:
        yield name, value.decode() if isinstance(value, bytes) else value


def reclaimed(sent: Sent, **changed: str) -> Sent:
    """Return the request with parts of its Authorization replaced, or removed where they are ""."""
    parts = dict(re.findall(r"(\w+)=([^, ]+)", sent.headers["Authorization"])) | changed
    told = ", ".join(f"{name}={value}" for name, value in parts.items() if value)
    sent.headers["Authorization"] = f"AWS4-HMAC-SHA256 {told}"
    return sent
