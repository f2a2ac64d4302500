"""A scriptable registry with token server and storage on other hosts: enough of the protocol to be believed."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlsplit

from aiohttp import web

from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from tests.support.clock import FakeClock
from tests.support.upstream_server import UpstreamServer, answering, failing
from tests.support.virtual_hosts import Handler

_SIGNING_KEY = b"storage"


def manifest_bytes(note: str = "") -> bytes:
    """Return a small image manifest."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    return json.dumps(document | {"annotations": {"note": note}}).encode()


@dataclass
class TokenServer:
    """Issue opaque bearer tokens. `accounts` are user → password; `public` repositories need no account."""

    server: UpstreamServer
    host: str
    clock: FakeClock
    service: str
    public: set[str] = field(default_factory=set)
    accounts: dict[str, str] = field(default_factory=dict)
    document: dict[str, object] | None = None  # replaces the keys of the answer beside the token
    issued: dict[str, tuple[frozenset[str], float]] = field(default_factory=dict)
    lifetime: float = 300.0

    def __post_init__(self) -> None:
        self.server.handlers[self.host] = self.answer

    @property
    def realm(self) -> str:
        return f"https://{self.host}/token"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = parse_qs(urlsplit(request.raw_path).query)
        header = request.headers.get("Authorization", "")
        user = self._user(header)
        if header and user is None:
            return await failing(401, "UNAUTHORIZED")(request)
        if asked.get("service") != [self.service]:
            return await failing(400, "UNSUPPORTED", "service")(request)
        wanted = {scope.split(":")[1] for scope in asked.get("scope", [])}
        granted = frozenset(name for name in wanted if user is not None or name in self.public)
        token = f"token-{self.host}-{len(self.issued)}"
        self.issued[token] = (granted, self.clock.now() + self.lifetime)
        rest: dict[str, object] = {"expires_in": self.lifetime} if self.document is None else self.document
        return await answering(200, json.dumps({"token": token} | rest).encode(), content_type="application/json")(
            request
        )

    def permits(self, token: str, repository: str) -> str:
        """Return "" if the token is good for the repository, else the error of RFC 6750."""
        granted, expires = self.issued.get(token, (frozenset(), 0.0))
        if expires <= self.clock.now():
            return "invalid_token"
        return "" if repository in granted else "insufficient_scope"

    def _user(self, header: str) -> str | None:
        return basic_user(header, self.accounts)


def basic_user(header: str, accounts: dict[str, str]) -> str | None:
    """Return the user whom a Basic header proves, or None."""
    scheme, _, encoded = header.partition(" ")
    if scheme != "Basic":
        return None
    user, _, password = base64.b64decode(encoded).decode().partition(":")
    return user if accounts.get(user) == password else None


@dataclass
class Storage:
    """Blobs behind signed links: the very characters of the query are signed, and Authorization is refused."""

    server: UpstreamServer
    host: str
    clock: FakeClock
    blobs: dict[str, bytes] = field(default_factory=dict)
    lifetime: float = 600.0
    signs_head: bool = True

    def __post_init__(self) -> None:
        self.server.handlers[self.host] = self.answer

    def link(self, digest: str) -> str:
        expires = f"{self.clock.now() + self.lifetime:.0f}"
        raw = hmac.new(_SIGNING_KEY, f"{digest}{expires}".encode(), hashlib.sha256).digest() + b"\xff\xef\xfe/+="
        signature = quote(base64.b64encode(raw).decode(), safe="")
        return f"https://{self.host}/{digest}?X-Exp={expires}&response=a%2Fb%20c&sig={signature}"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        target = f"https://{self.host}{request.raw_path}"
        digest = urlsplit(target).path[1:]
        expires = float(parse_qs(urlsplit(target).query).get("X-Exp", ["0"])[0])
        if "Authorization" in request.headers:
            return await answering(400, b"<Error>InvalidAuthenticationInfo</Error>")(request)
        if expires <= self.clock.now() or not target.endswith(f"&response=a%2Fb%20c&sig={_signature(digest, expires)}"):
            return await answering(403, b"<Error>AccessDenied</Error>")(request)
        if request.method == "HEAD" and not self.signs_head:
            return await answering(403)(request)
        return await serve_bytes(request, self.blobs[digest])


def _signature(digest: str, expires: float) -> str:
    raw = hmac.new(_SIGNING_KEY, f"{digest}{expires:.0f}".encode(), hashlib.sha256).digest() + b"\xff\xef\xfe/+="
    return quote(base64.b64encode(raw).decode(), safe="")


async def serve_bytes(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
    """Answer with `data`, or the part of it that Range and If-Range ask for."""
    tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes"}
    wanted = request.headers.get("Range")
    if wanted is None or request.headers.get("If-Range", tag) != tag:
        return await answering(200, data, headers, content_type="application/octet-stream")(request)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
    if start >= len(data):
        return await answering(416, headers={"Content-Range": f"bytes */{len(data)}"})(request)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return await answering(206, data[start:stop], headers, content_type="application/octet-stream")(request)


@dataclass
class FakeRegistry:
    """A registry: open, with `tokens` behind Bearer, or with `accounts` behind Basic; blobs here or in `storage`."""

    server: UpstreamServer
    host: str
    tokens: TokenServer | None = None
    storage: Storage | None = None
    accounts: dict[str, str] = field(default_factory=dict)
    page: int = 1000
    repositories: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    indexes: dict[str, Sequence[dict[str, object]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server.handlers[self.host] = self.answer

    def put_manifest(self, repository: str, tag: str, raw: bytes, media_type: str = OCI_MANIFEST) -> Digest:
        """Keep a manifest under a tag and its digests."""
        held = self.repositories.setdefault(repository, {})
        for name in (tag, str(Digest.of(raw)), str(Digest.of(raw, "sha512"))):
            held[name] = (media_type, raw)
        return Digest.of(raw)

    def put_blob(self, data: bytes) -> Digest:
        """Keep a blob, in the storage if there is one."""
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        if self.storage is not None:
            self.storage.blobs[str(digest)] = data
        return digest

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.removeprefix("/v2/").partition("?")
        for kind, handler in (
            ("/manifests/", self._manifest),
            ("/blobs/", self._blob),
            ("/tags/list", self._tags),
            ("/referrers/", self._referrers),
        ):
            name, found, rest = path.partition(kind)
            if found:
                refusal = self._refusal(request, name)
                return await (refusal or handler(name, rest, query))(request)
        return await answering(404, b"404 page not found", content_type="text/plain")(request)

    def _refusal(self, request: web.BaseRequest, name: str) -> Handler | None:
        header = request.headers.get("Authorization", "")
        if self.accounts and basic_user(header, self.accounts) is None:
            return failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="registry"'})
        if self.tokens is None:
            return None
        challenge = f'Bearer realm="{self.tokens.realm}",service="{self.tokens.service}",scope="repository:{name}:pull"'
        if header:
            error = self.tokens.permits(header.removeprefix("Bearer "), name)
            if not error:
                return None
            challenge += f',error="{error}"'
        return failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})

    def _manifest(self, name: str, reference: str, _: str) -> Handler:
        if name not in self.repositories:
            return failing(404, "NAME_UNKNOWN")
        if reference not in self.repositories[name]:
            return failing(404, "MANIFEST_UNKNOWN")
        media_type, raw = self.repositories[name][reference]
        headers = {"Docker-Content-Digest": str(Digest.of(raw)), "ETag": f'"{Digest.of(raw)}"'}
        return answering(200, raw, headers, content_type=media_type)

    def _blob(self, _: str, digest: str, __: str) -> Handler:
        if digest not in self.blobs:
            return failing(404, "BLOB_UNKNOWN")
        if self.storage is not None:
            return answering(307, b"<a>elsewhere</a>", {"Location": self.storage.link(digest)})
        data = self.blobs[digest]
        return lambda request: serve_bytes(request, data)

    def _tags(self, name: str, _: str, query: str) -> Handler:
        if name not in self.repositories:
            return failing(404, "NAME_UNKNOWN")
        tags = [tag for tag in self.repositories[name] if ":" not in tag]
        first = int(parse_qs(query).get("last", ["0"])[0])
        headers = {}
        if first + self.page < len(tags):
            headers["Link"] = f'</v2/{name}/tags/list?last={first + self.page}&opaque=%2F%2b>; rel="next"'
        page = tags[first : first + self.page]
        return answering(200, json.dumps({"name": name, "tags": page}).encode(), headers, content_type="text/plain")

    def _referrers(self, _: str, digest: str, __: str) -> Handler:
        index = {"schemaVersion": 2, "manifests": list(self.indexes.get(digest, ()))}
        return answering(200, json.dumps(index).encode(), content_type="application/vnd.oci.image.index.v1+json")
