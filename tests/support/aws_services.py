"""APIs of AWS on loopback, and the identity as which boto3 calls them."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import pytest
from aiohttp import web

from tests.support.clock import FakeClock

_NAME = "ecr-pullthroughcache/hub"
_ARN = f"arn:aws:secretsmanager:eu-west-1:012345678910:secret:{_NAME}-AbC123"


def be_aws_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 find one made-up identity, whatever this machine has, and no endpoints but AWS's own."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/nonexistent/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials"),
    ):
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class AwsService(ABC):
    """A service that speaks AWS JSON 1.1."""

    port: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        runner = web.ServerRunner(web.Server(self._respond))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    @abstractmethod
    def answer(self, target: str, scope: str, given: dict[str, str]) -> tuple[int, dict[str, object]]:
        """Return status and document; `scope` is for which region and service the request was signed."""

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        # SigV4: Credential=<key>/<day>/<region>/<service>/aws4_request
        scope = request.headers.get("Authorization", "").partition("Credential=")[2].split("/")
        given = json.loads(await request.read() or b"{}")
        status, document = self.answer(request.headers.get("X-Amz-Target", ""), "/".join(scope[2:4]), given)
        body = json.dumps(document).encode()
        return web.Response(status=status, body=body, content_type="application/x-amz-json-1.1")


@dataclass
class AwsTokens(AwsService):
    """Answer GetAuthorizationToken of ECR, or of ECR Public, with `password`s that live for `lifetime` seconds.

    `failure` (status, code) answers instead. `targets` is the journal: the operation and who signed for which region.
    """

    clock: FakeClock
    lifetime: float = 12 * 3600.0
    failure: tuple[int, str] | None = None
    token: str | None = None
    targets: list[tuple[str, str]] = field(default_factory=list)

    @property
    def password(self) -> str:
        """Return the password that was given last."""
        return f"password-{len(self.targets)}"

    def answer(self, target: str, scope: str, given: dict[str, str]) -> tuple[int, dict[str, object]]:  # noqa: ARG002 - it is asked for one thing
        self.targets.append((target, scope))
        if self.failure is not None:
            status, code = self.failure
            return status, {"__type": code, "message": "no"}
        token = self.token or base64.b64encode(f"AWS:{self.password}".encode()).decode()
        entry = {"authorizationToken": token, "expiresAt": self.clock.now() + self.lifetime}
        public = target.startswith("SpencerFrontendService")
        return 200, {"authorizationData": entry if public else [entry]}


@dataclass
class AwsSecretValues(AwsService):
    """Answer GetSecretValue of Secrets Manager: one secret, or a `failure` (status, code, message).

    A `text` of None is a secret that holds bytes. `asked` is the journal.
    """

    text: str | None
    failure: tuple[int, str, str] | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def answer(self, target: str, scope: str, given: dict[str, str]) -> tuple[int, dict[str, object]]:
        self.asked.append((target, given["SecretId"], scope))
        if self.failure is not None:
            status, code, message = self.failure
            return status, {"__type": code, "message": message}
        value = {"SecretBinary": "aGlkZGVu"} if self.text is None else {"SecretString": self.text}
        return 200, {"ARN": _ARN, "Name": _NAME, **value}
