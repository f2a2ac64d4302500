"""Scripted upstream hosts on one loopback port, with a journal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.support.virtual_hosts import Handler, VirtualHosts


@dataclass(frozen=True)
class Visit:
    """One request as it arrived; `target` is the path with its query, byte for byte."""

    host: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    status: int = 0

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass
class Script:
    """An answer that replaces the host's own for requests that it matches, `times` times (None: always)."""

    host: str
    handler: Handler
    method: str | None = None
    containing: str = ""
    times: int | None = None

    def matches(self, visit: Visit) -> bool:
        wanted = self.host == visit.host and self.method in {None, visit.method} and self.containing in visit.target
        return wanted and self.times != 0


@dataclass
class UpstreamServer:
    """Serve `handlers` by Host. Use as an async context manager; hosts must be known before a TLS server starts."""

    hosts: tuple[str, ...]
    folder: Path
    tls: bool = True
    handlers: dict[str, Handler] = field(default_factory=dict)
    scripts: list[Script] = field(default_factory=list)
    journal: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = VirtualHosts(self.hosts, self.folder, self._answer, tls=self.tls)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def ca_file(self) -> Path:
        return self._listener.ca_file

    @property
    def connect_to(self) -> dict[str, str]:
        return self._listener.connect_to

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, trace)

    def script(
        self, host: str, handler: Handler, *, method: str | None = None, containing: str = "", times: int | None = None
    ) -> None:
        self.scripts.append(Script(host, handler, method, containing, times))

    def visits(self, host: str, method: str | None = None, containing: str = "") -> list[Visit]:
        return [
            visit
            for visit in self.journal
            if visit.host == host and method in {None, visit.method} and containing in visit.target
        ]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        host = request.headers.get("Host", "").partition(":")[0]
        visit = Visit(host, request.method, request.raw_path, request.headers.copy(), await request.read())
        place = len(self.journal)
        self.journal.append(visit)
        handler = self.handlers.get(host, _nobody)
        for script in self.scripts:
            if script.matches(visit):
                if script.times is not None:
                    script.times -= 1
                handler = script.handler
                break
        response = await handler(request)
        self.journal[place] = Visit(host, visit.method, visit.target, visit.headers, visit.body, response.status)
        return response


async def _nobody(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=421, text="no such host here")


def answering(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, *, content_type: str | None = None
) -> Handler:
    """Return a handler with a fixed answer; without `content_type` its Content-Type is empty."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": content_type or "", **(headers or {})})
        if "Transfer-Encoding" in response.headers:
            del response.headers["Transfer-Encoding"]
            response.enable_chunked_encoding()
        elif "Content-Length" not in response.headers:
            response.content_length = len(body)
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(body)
        await response.write_eof()
        return response

    return handler


def redirecting(location: str, status: int = 307) -> Handler:
    """Return a handler that redirects; Location goes out as it is."""
    return answering(status, headers={"Location": location})


def failing(status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None) -> Handler:
    """Return a handler that answers an OCI error document."""
    body = f'{{"errors":[{{"code":"{code}","message":"{message}","detail":null}}]}}'.encode()
    return answering(status, body, headers, content_type="application/json")
