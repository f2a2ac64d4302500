"""A small registry that keeps a journal and misbehaves on request; it runs on the loop of the test."""

import asyncio
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

from aiohttp import BasicAuth, web

from tests.support.images import Image

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")
_CHUNK = 64 << 10


_FLIPPED = bytes(byte ^ 1 for byte in range(256))


class Fault(Enum):
    """What goes wrong with one transfer of a blob, from byte `Faulty.at` on where that means something."""

    CUT = auto()  # the connection is closed
    STALL = auto()  # no byte comes any more
    WRONG_BYTES = auto()  # the right number of wrong bytes
    TOO_SHORT = auto()  # the length announced and sent is `at`
    TOO_LONG = auto()  # more bytes than the blob has
    HTML = auto()  # a captive portal's page, with 200
    WRONG_OFFSET = auto()  # a resumed transfer begins one byte before where it claims
    IGNORED_RANGE = auto()  # a resumed transfer is answered with 200 and the whole blob


@dataclass(frozen=True)
class Faulty:
    """A fault at a place."""

    fault: Fault
    at: int = 0


@dataclass
class Asked:
    """A request as it came, and how many bytes of a body were sent."""

    method: str
    name: str
    kind: str
    reference: str
    range: str | None
    user: str | None
    sent: int = 0

    @property
    def start(self) -> int:
        """Return the first byte asked for."""
        return int(self.range.removeprefix("bytes=").partition("-")[0]) if self.range else 0


@dataclass
class FaultyRegistry:
    """Serve images and blobs; use as an async context manager.

    `faults`: what is to go wrong with the next transfers of a blob, in this order; then all goes well.
    `hold_at`: transfers of a blob pause before this byte until `release` is called.
    `pace`: bytes a second of one transfer. `users`: who may see a repository, as {repository: {user: password}}.
    """

    pace: float | None = None
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: dict[str, deque[Faulty]] = field(default_factory=lambda: defaultdict(deque))
    hold_at: dict[str, int] = field(default_factory=dict)
    journal: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._manifests: dict[tuple[str, str], Image] = {}
        self._blobs: dict[tuple[str, str], bytes] = {}
        self._released = asyncio.Event()
        self._progress = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.port = 0

    def add(self, repository: str, tag: str, image: Image) -> None:
        """Offer an image under a tag and its digest."""
        for child in image.children:
            self.add(repository, child.digest, child)
        self._manifests[repository, tag] = self._manifests[repository, image.digest] = image
        self._blobs.update({(repository, digest): blob for digest, blob in image.blobs.items()})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def blob_gets(self, digest: str) -> list[Asked]:
        """Return the transfers of a blob."""
        return [asked for asked in self.journal if asked.method == "GET" and asked.reference == digest]

    def release(self) -> None:
        """Let transfers that are held go on, now and later."""
        self._released.set()

    async def sent(self, total: int) -> None:
        """Wait until so many bytes of blobs were sent in all."""
        async with self._progress:
            await self._progress.wait_for(lambda: sum(asked.sent for asked in self.journal) >= total)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v2/", self._ping)
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None, "it was entered"
        await self._runner.cleanup()

    async def _ping(self, request: web.Request) -> web.Response:
        user, password = _credentials(request)
        accounts: dict[str, str] = {}
        for group in self.users.values():
            accounts |= group
        if self.users and accounts.get(user or "") != password:
            return _challenge()
        return web.json_response({})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        found = _PATH.fullmatch(request.path)
        if found is None:
            return _error(404, "NAME_UNKNOWN")
        user, password = _credentials(request)
        asked = Asked(
            request.method, found["name"], found["kind"], found["reference"], request.headers.get("Range"), user
        )
        self.journal.append(asked)
        allowed = self.users.get(asked.name)
        if allowed is not None and user is None:
            return _challenge()
        if allowed is not None and allowed.get(user or "") != password:
            return _error(403, "DENIED")
        if asked.kind == "manifests":
            return self._manifest(asked)
        content = self._blobs.get((asked.name, asked.reference))
        if content is None:
            return _error(404, "BLOB_UNKNOWN")
        return await self._blob(request, asked, content)

    def _manifest(self, asked: Asked) -> web.Response:
        image = self._manifests.get((asked.name, asked.reference))
        if image is None:
            return _error(404, "MANIFEST_UNKNOWN")
        headers = {"Content-Type": image.media_type, "Docker-Content-Digest": image.digest}
        if asked.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(image.manifest))})
        return web.Response(body=image.manifest, headers=headers)

    async def _blob(self, request: web.Request, asked: Asked, content: bytes) -> web.StreamResponse:
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": asked.reference}
        if asked.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(content))})
        queue = self.faults[asked.reference]
        faulty = queue.popleft() if queue else None
        fault = faulty.fault if faulty is not None else None
        if fault is Fault.HTML:
            return web.Response(text="<html>Please log in to the airport</html>", content_type="text/html")
        start = 0 if fault is Fault.IGNORED_RANGE else asked.start
        status, body = (200 if start == 0 else 206), content[start:]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        place = max(0, (faulty.at if faulty is not None else 0) - start)
        if fault is Fault.WRONG_BYTES:
            body = body[:place] + body[place:].translate(_FLIPPED)
        elif fault is Fault.TOO_SHORT:
            body = body[:place]
        elif fault is Fault.TOO_LONG:
            body += b"and more"
        elif fault is Fault.WRONG_OFFSET and start:
            body = content[start - 1 : -1]
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await self._send(asked, response, body[:place] if fault in {Fault.CUT, Fault.STALL} else body, start)
        if fault is Fault.CUT and request.transport is not None:
            request.transport.close()
        elif fault is Fault.STALL:
            await asyncio.Event().wait()
        return response

    async def _send(self, asked: Asked, response: web.StreamResponse, body: bytes, start: int) -> None:
        hold = self.hold_at.get(asked.reference)
        for offset in range(0, len(body), _CHUNK):
            chunk = body[offset : offset + _CHUNK]
            if hold is not None and start + offset + len(chunk) > hold:
                await self._released.wait()
            if self.pace is not None:
                await asyncio.sleep(len(chunk) / self.pace)
            await response.write(chunk)
            asked.sent += len(chunk)
            async with self._progress:
                self._progress.notify_all()


def _credentials(request: web.Request) -> tuple[str | None, str | None]:
    header = request.headers.get("Authorization")
    if header is None:
        return None, None
    basic = BasicAuth.decode(header)
    return basic.login, basic.password


def _challenge() -> web.Response:
    answer = _error(401, "UNAUTHORIZED")
    answer.headers["WWW-Authenticate"] = 'Basic realm="tests"'
    return answer


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": code.lower()}]}, status=status)
