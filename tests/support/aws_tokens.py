"""The one operation of Amazon ECR that hands out passwords, on loopback."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.clock import FakeClock


@dataclass
class AwsTokens:
    """Answer GetAuthorizationToken of ECR, or of ECR Public, with `password`s that live for `lifetime` seconds.

    `failure` (status, code) answers instead. `targets` is the journal: the operation and who signed for which region.
    """

    clock: FakeClock
    lifetime: float = 12 * 3600.0
    failure: tuple[int, str] | None = None
    token: str | None = None
    targets: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """Return the password that was given last."""
        return f"password-{len(self.targets)}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["AwsTokens"]:
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        # SigV4: Credential=<key>/<day>/<region>/<service>/aws4_request
        scope = request.headers.get("Authorization", "").partition("Credential=")[2].split("/")
        self.targets.append((target, "/".join(scope[2:4])))
        if self.failure is not None:
            status, code = self.failure
            return _answer({"__type": code, "message": "no"}, status)
        token = self.token or base64.b64encode(f"AWS:{self.password}".encode()).decode()
        entry = {"authorizationToken": token, "expiresAt": self.clock.now() + self.lifetime}
        public = target.startswith("SpencerFrontendService")
        return _answer({"authorizationData": entry if public else [entry]})


def _answer(document: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(document).encode(), content_type="application/x-amz-json-1.1")
