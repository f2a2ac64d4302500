"""Requests as emulators see them, and replies as they decide on them; how bytes leave is decided apart from that."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self
from urllib.parse import parse_qs, unquote

from multidict import CIMultiDict

from tests.emulators.content import Blob, Bytes

API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")
Step = Callable[[], Awaitable[None]]
_PATH = re.compile(r"/v2/(?P<name>.+)/(?:(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+)|tags/list)")


class Route(StrEnum):
    """What a request asks for."""

    PING = "ping"
    TOKEN = "token"
    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    STORAGE = "storage"
    OTHER = "other"


@dataclass(frozen=True)
class Request:
    """One request; `target` is the path with its query, byte for byte as it arrived."""

    host: str
    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes = b""
    address: str = "127.0.0.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def parameters(self) -> dict[str, list[str]]:
        return parse_qs(self.query, keep_blank_values=True)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")

    @property
    def accept(self) -> set[str]:
        """Return the media types of all Accept headers, without their parameters."""
        joined = ",".join(self.headers.getall("Accept", ()))
        return {entry.partition(";")[0].strip() for entry in joined.split(",")} - {""}

    def parameter(self, name: str) -> str | None:
        return next(iter(self.parameters.get(name, ())), None)

    def without(self, *names: str) -> Self:
        """Return the request as if it had come without these headers."""
        headers = self.headers.copy()
        for name in names:
            headers.popall(name, None)
        return replace(self, headers=headers)


@dataclass(frozen=True)
class Call:
    """A request of the registry protocol: what is asked for, of which repository."""

    request: Request
    route: Route
    name: str
    reference: str = ""

    @property
    def by_digest(self) -> bool:
        return ":" in self.reference


def parse_call(request: Request) -> Call | None:
    """Return the call of a path below ``/v2/``, which is read from the right: names may hold any of its words."""
    found = _PATH.fullmatch(unquote(request.path))
    if found is None:
        return None
    routes = {"manifests": Route.MANIFEST, "blobs": Route.BLOB, "referrers": Route.REFERRERS, None: Route.TAGS}
    return Call(request, routes[found["kind"]], found["name"], found["reference"] or "")


@dataclass(frozen=True)
class Body:
    """The bytes [start, stop) of a blob."""

    blob: Blob
    start: int
    stop: int

    @classmethod
    def of(cls, content: Blob | bytes) -> Self:
        blob = Bytes(content) if isinstance(content, bytes) else content
        return cls(blob, 0, blob.size)

    @property
    def size(self) -> int:
        return self.stop - self.start

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes by their places in this body."""
        return self.blob.read(self.start + start, self.start + stop)

    @property
    def data(self) -> bytes:
        return self.read(0, self.size)


@dataclass(frozen=True)
class Delivery:
    """How a reply is put on the wire: whole, and as fast as it is taken, unless a fault says otherwise.

    `steps` are done when that many bytes of the body are sent (-1: before the head). `cut` closes the connection
    there instead of going on, with `reset` hard. `pause` is waited for between pieces of `piece` bytes. `announced`
    replaces the Content-Length; `chunked` and `unmeasured` (the body ends with the connection) omit it. After an
    answer of `version` 1.0 the connection is closed.
    """

    steps: tuple[tuple[int, Step], ...] = ()
    cut: int | None = None
    reset: bool = False
    piece: int = 1 << 16
    pause: float = 0.0
    announced: int | None = None
    chunked: bool = False
    unmeasured: bool = False
    version: str = "1.1"


@dataclass(frozen=True)
class Reply:
    """A reply. `body` is what a GET gets: to a HEAD it gives the Content-Length only."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = field(default_factory=lambda: Body.of(b""))
    delivery: Delivery = field(default_factory=Delivery)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def having(self, **headers: str) -> Self:
        """Return the reply with other headers; underscores stand for hyphens."""
        return self.with_headers({name.replace("_", "-"): value for name, value in headers.items()})

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        kept = self.without(*headers).headers
        return replace(self, headers=(*kept, *headers.items()))

    def without(self, *names: str) -> Self:
        lower = {name.lower() for name in names}
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in lower))

    def with_body(self, content: Blob | bytes) -> Self:
        return replace(self, body=Body.of(content))

    def delivered(self, delivery: Delivery) -> Self:
        return replace(self, delivery=delivery)


def reply(
    status: int, content: Blob | bytes = b"", content_type: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return a reply; without `content_type` it has none at all."""
    typed = {"Content-Type": content_type} if content_type is not None else {}
    return Reply(status, tuple({**typed, **(headers or {})}.items()), Body.of(content))


def text(status: int, content: str, headers: Mapping[str, str] | None = None) -> Reply:
    return reply(status, content.encode(), "text/plain; charset=utf-8", headers)


def page(status: int, content: str, headers: Mapping[str, str] | None = None) -> Reply:
    return reply(status, f"<html><body>{content}</body></html>\n".encode(), "text/html", headers)


def xml(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    content = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return reply(status, content.encode(), "application/xml", headers)


def document(
    content: object,
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return reply(status, json.dumps(content, ensure_ascii=False).encode(), content_type, headers)


def failure(
    status: int, code: str, message: str = "", *, detail: object = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return an error document (distribution-spec, "Error Codes")."""
    entry = {"code": code, "message": message or code.lower().replace("_", " "), "detail": detail}
    return document({"errors": [entry]}, status=status, headers=headers)


def redirect(location: str, status: int = 307, content: Reply | None = None) -> Reply:
    """Return a redirect; `location` goes out as it is."""
    return replace(content or Reply(), status=status).with_headers({"Location": location})
