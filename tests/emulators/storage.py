"""The storage and delivery networks behind registries: blobs by signed links."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

from proxy.core.ports import Clock
from tests.emulators.content import Blob
from tests.emulators.messages import Body, Reply, Request, reply, text, xml

_KEY = b"the storage's own key"
_STORED_AT = 1_690_000_000.0

Signature = Callable[[float, float, str], str]
"""Make the query of a link: from when, until when, and a signature in base64 of the standard alphabet."""


def _moment(seconds: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def aws_query(issued: float, expires: float, signature: str) -> str:
    """S3 and R2 (AWS Signature Version 4 in the query)."""
    date = _moment(issued, "%Y%m%dT%H%M%SZ")
    hexadecimal = base64.b64decode(signature).hex()
    return (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"
        f"&X-Amz-Credential=AKIAEXAMPLE%2F{date[:8]}%2Fauto%2Fs3%2Faws4_request&X-Amz-Date={date}"
        f"&X-Amz-Expires={expires - issued:.0f}&X-Amz-SignedHeaders=host&X-Amz-Signature={hexadecimal}"
        f"&x-id=GetObject&token={quote(signature, safe='')}"
    )


def quay_query(issued: float, expires: float, signature: str) -> str:
    """S3's query with the signature of the network before it."""
    return f"{aws_query(issued, expires, signature)}&cf_sign={quote(signature, safe='')}&cf_expiry={expires:.0f}"


def cloudflare_query(_: float, expires: float, signature: str) -> str:
    return f"expires={expires:.0f}&signature={quote(signature, safe='')}&version=2"


def cloudfront_query(_: float, expires: float, signature: str) -> str:
    """CloudFront spells base64 with - _ ~ (Amazon CloudFront Developer Guide, "canned policy")."""
    spelled = signature.translate(str.maketrans("+=/", "-_~"))
    return f"Expires={expires:.0f}&Signature={spelled}&Key-Pair-Id=K1EXAMPLE"


def azure_query(issued: float, expires: float, signature: str) -> str:
    """A shared access signature of Azure Blob Storage."""
    stamps = f"se={quote(_moment(expires), safe='')}&st={quote(_moment(issued), safe='')}"
    return f"{stamps}&sig={quote(signature, safe='')}&sp=r&spr=https&sr=b&sv=2019-12-12"


def google_query(_: float, expires: float, signature: str) -> str:
    return f"Expires={expires:.0f}&KeyName=registry&Signature={quote(signature, safe='')}&scope=a%20b%2fc"


@dataclass(frozen=True)
class Vendor:
    """How one vendor's storage refuses: Authorization beside a signed query, an expired link, any other."""

    with_authorization: Reply
    expired: Reply
    unsigned: Reply


_ONE_MECHANISM = xml(400, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query ...")
AWS = Vendor(
    _ONE_MECHANISM,
    xml(403, "AccessDenied", "Request has expired"),
    xml(403, "SignatureDoesNotMatch", "The request signature we calculated does not match"),
)
GOOGLE = Vendor(
    xml(400, "InvalidArgument", "Invalid argument."), text(403, "Forbidden"), text(403, "Your client does not ...")
)
_AZURE_MISTAKE = "Authentication information is not given in the correct format."
_AZURE_FAILED = xml(
    403,
    "AuthenticationFailed",
    "Server failed to authenticate the request.",
    {"x-ms-error-code": "AuthenticationFailed"},
)
AZURE = Vendor(
    xml(400, "InvalidAuthenticationInfo", _AZURE_MISTAKE, {"x-ms-error-code": "InvalidAuthenticationInfo"}),
    _AZURE_FAILED,
    _AZURE_FAILED,
)


@dataclass(frozen=True)
class _Link:
    blob: Blob
    issued: float
    expires: float


@dataclass
class Storage:
    """A host that serves blobs to those who hold a link, for the method and the very characters it was made for."""

    host: str
    clock: Clock
    vendor: Vendor
    query: Signature
    lifetime: float
    path: str = "/registry/{digest}/data"
    links: dict[tuple[str, str], _Link] = field(default_factory=dict)

    def link(self, blob: Blob, method: str = "GET") -> str:
        """Return a link that is good for one method and `lifetime` seconds."""
        issued = self.clock.now()
        expires = issued + self.lifetime
        path = self.path.format(digest=blob.digest, hex=blob.digest.encoded)
        target = f"{path}?{self.query(issued, expires, self._signature(f'{method} {path} {expires}'))}"
        self.links[method, target] = _Link(blob, issued, expires)
        return f"https://{self.host}{target}"

    def answer(self, request: Request) -> Reply:
        if request.authorization is not None:
            return self.vendor.with_authorization
        link = self.links.get((request.method, request.target))
        if link is None:
            return self.vendor.unsigned
        if link.expires <= self.clock.now():
            return self.vendor.expired
        return serve_blob(request, link.blob)

    def _signature(self, signed: str) -> str:
        """Return a signature that holds the characters which clients are tempted to spell otherwise."""
        for nonce in range(1 << 20):
            made = hmac.digest(_KEY, f"{signed} {len(self.links)} {nonce}".encode(), hashlib.sha256)
            spelled = base64.b64encode(made).decode()
            if "+" in spelled and "/" in spelled and "=" in spelled:
                return spelled
        raise AssertionError("every third signature has them")


def entity_tag(blob: Blob) -> str:
    """Return an entity tag that tells nothing, as storages have them."""
    return f'"{hashlib.md5(str(blob.digest).encode(), usedforsecurity=False).hexdigest()}"'


def serve_blob(request: Request, blob: Blob, headers: dict[str, str] | None = None) -> Reply:
    """Serve a blob, or the single range of it that is asked for (RFC 9110 §14)."""
    described = {
        "ETag": entity_tag(blob),
        "Last-Modified": formatdate(_STORED_AT, usegmt=True),
        "Accept-Ranges": "bytes",
        **(headers or {}),
    }
    whole = reply(200, blob, "application/octet-stream", described)
    wanted = request.headers.get("Range", "")
    if not wanted.startswith("bytes=") or "," in wanted:
        return whole
    if request.headers.get("If-Range", described["ETag"]) not in {described["ETag"], described["Last-Modified"]}:
        return whole
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if first:
        start, stop = int(first), min(int(last) + 1 if last else blob.size, blob.size)
    else:
        start, stop = max(0, blob.size - int(last)), blob.size
    if start >= stop:
        return reply(416, headers={"Content-Range": f"bytes */{blob.size}"})
    ranged = {"Content-Range": f"bytes {start}-{stop - 1}/{blob.size}"}
    part = reply(206, b"", "application/octet-stream", described | ranged)
    return Reply(part.status, part.headers, Body(blob, start, stop))
