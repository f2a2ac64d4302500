"""What of a request is signed: what must be, the request as its sender may have signed it, and the signature of that.

What botocore signs is computed by botocore's own signer once more, from the request as it came.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from proxy.http.aws.claims import Claim, invalid, repeated
from proxy.http.trace import TRACE
from proxy.model.access_keys import AccessKey

PAYLOAD: Final = "x-amz-content-sha256"
_PREFIX: Final = "x-amz-"
# What says who made the SDK decides nothing, and some SDKs leave it unsigned.
_UNSIGNED: Final = frozenset({"x-amz-user-agent"})
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Signer(SigV4Auth):
    """botocore's signer, restricted to the headers that the client signed, over a body that is known by its hash."""

    def __init__(self, key: AccessKey, service: str, region: str, payload: str) -> None:
        super().__init__(Credentials(key.id, key.secret), service, region)
        self._payload = payload

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        """Return all headers: the request has no other ones than those that are signed."""
        return request.headers

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 - botocore's signature
        """Return the hash of the body."""
        return self._payload

    def sign(self, request: AWSRequest) -> str:
        """Return the signature that the request should have."""
        return self.signature(self.string_to_sign(request, self.canonical_request(request)), request)


def check_headers(request: web.Request, claim: Claim) -> None:
    """Raise `ApiError` unless all is signed that must be, and all is there that is signed."""
    if "host" not in claim.headers:
        raise invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in request.headers:
        folded = name.lower()
        if folded.startswith(_PREFIX) and folded not in claim.headers and folded not in _UNSIGNED:
            raise invalid(f"'{name[:128]}' must be a 'SignedHeader' in the AWS Authorization.")
    for name in claim.headers:
        values = request.headers.getall(name, [])
        if not values and name != "host":
            raise invalid(f"The header '{name}' is signed, but was not sent.")
        if len(values) > 1:
            raise repeated(name)
        if not all(map(str.isascii, values)):
            raise invalid(f"The header '{name}' is signed, and has other characters than those of ASCII.")
    if _HASH.fullmatch(request.headers.get(PAYLOAD, "0" * 64)) is None:
        raise invalid("X-Amz-Content-Sha256 must be the hash of the body: what is sent here is always signed.")


def signed_requests(request: web.Request, claim: Claim, public: str | None) -> tuple[AWSRequest, ...]:
    """Return the request as its sender may have signed it, once for each name that the registry may have had there.

    Proxies may have put another name into Host: `public` is the one of the registry's own URL.
    """
    told, origin = request.headers.get(hdrs.HOST), request[TRACE].origin
    hosts = [told, host_of(origin) if origin is not None else None, public]
    # Of a request that is signed in its header, all of the query is.
    unsigned = "X-Amz-Signature" if claim.expires is not None else None
    signed = [(name, value) for name, value in claim.query if name != unsigned]
    made = []
    for host in dict.fromkeys(host for host in hosts if host is not None):
        # The host of the URL is not signed: that of the header is.
        copy = AWSRequest(method=request.method, url=f"http://localhost{request.rel_url.raw_path}")
        copy.params = signed  # type: ignore[assignment] # botocore takes pairs, too: a name may be there twice
        for name in claim.headers:
            copy.headers[name] = host if name == "host" else request.headers[name]
        copy.context["timestamp"] = claim.timestamp
        made.append(copy)
    return tuple(made)


def host_of(origin: str) -> str:
    """Return host and port of an origin as clients send them: without the port that goes with the scheme."""
    parts = urlsplit(origin)
    return parts.netloc.removesuffix({"http": ":80", "https": ":443"}.get(parts.scheme, ":"))
