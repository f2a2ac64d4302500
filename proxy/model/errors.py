"""The one table of errors, and the exceptions that carry them.

`ProxyError` is an answer for a client; each surface renders it once. `UpstreamError` says how an upstream
failed; core decides whether a stored copy, or which `ProxyError`, answers it.
"""

import math
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any


class ErrorCode(Enum):
    """Error codes of the OCI distribution-spec (§ Error Codes) and common ones beside it: status, default message."""

    BLOB_UNKNOWN = (404, "blob unknown to registry")
    BLOB_UPLOAD_INVALID = (416, "the chunk does not continue the upload; ask for its status and go on from there")
    BLOB_UPLOAD_UNKNOWN = (404, "blob upload unknown to registry: it was finished, cancelled, or has expired")
    CONTENT_ENCODING_INVALID = (415, "content is taken as it is: send it without Content-Encoding")
    DENIED = (403, "requested access to the resource is denied")
    DIGEST_INVALID = (400, "provided digest is not a valid digest, or did not match the content")
    MALFORMED = (400, "the request is not well-formed HTTP/1.1, or a part of it is too long")
    MANIFEST_BLOB_UNKNOWN = (404, "the manifest names content that this repository does not hold: push that first")
    MANIFEST_INVALID = (400, "manifest invalid")
    MANIFEST_UNKNOWN = (404, "Requested image not found")
    MISDIRECTED = (421, "this server does not answer for the host of this request")
    NAME_INVALID = (400, "invalid repository name")
    NAME_UNKNOWN = (404, "repository name not known to registry")
    NOT_FOUND = (404, "no such resource")
    PAGINATION_NUMBER_INVALID = (400, "n must be a whole number from 0 to 10000")
    RANGE_INVALID = (416, "the requested range lies outside of the content")
    SIZE_INVALID = (413, "the content is larger than what is accepted here")
    STORAGE_FULL = (507, "the registry has no room for this; tell who runs it")
    TAG_INVALID = (400, "the tag cannot be written")
    TOOMANYREQUESTS = (429, "too many requests")
    UNAVAILABLE = (503, "the registry is shutting down or cannot serve this now; try again")
    UNAUTHORIZED = (401, "authentication required")
    UNKNOWN = (500, "an internal error; the log of the server tells more")
    UNSUPPORTED = (405, "the operation is unsupported")
    UPSTREAM_INVALID = (502, "the upstream registry answered with something that is not the content asked for")
    UPSTREAM_TIMEOUT = (504, "the upstream registry did not answer in time")
    UPSTREAM_UNAVAILABLE = (502, "the upstream registry cannot be reached")

    def __init__(self, status: int, message: str) -> None:
        """Keep the HTTP status and the default sentence of the code."""
        self.status = status
        self.message = message


class ProxyError(Exception):
    """A failure that a client is told about.

    `message` and `detail` are public; `debug` is for the log only. `headers` go out with the answer
    (``Retry-After``, ``Content-Range``). `detail` must be JSON-serialisable.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str | None = None,
        *,
        detail: Mapping[str, Any] | None = None,
        debug: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the public and the private half of the failure."""
        super().__init__(message or code.message)
        self.code = code
        self.message = message or code.message
        self.detail = dict(detail or {})
        self.debug = debug
        self.headers = dict(headers or {})


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header by which clients wait for `seconds`: whole ones, and at least one (RFC 9110 §10.2.3)."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


class UpstreamFailure(StrEnum):
    """How an upstream can fail, told apart for client, log and metric."""

    UNREACHABLE = "unreachable"  # connect, DNS, TLS, connection lost
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"  # 5xx
    GARBAGE = "garbage"  # wrong bytes, wrong length, HTML, schema1, nonsense
    RATE_LIMITED = "rate_limited"  # 429
    CREDENTIALS_REFUSED = "credentials_refused"  # 401 to Basic or at the token endpoint, with credentials
    DENIED = "denied"  # insufficient_scope, 403, a token endpoint's 403
    NOT_FOUND = "not_found"  # certain: the registry itself said so, to the full Accept
    UNSUPPORTED = "unsupported"  # the upstream lacks this API (referrers: 404, 405, 3xx to another host)
    REFUSED_TARGET = "refused_target"  # our own guard refused a realm, redirect or Link
    OFFLINE = "offline"  # this server or rule is set offline
    NOT_PERMITTED = "not_permitted"  # the caller may not have this upstream asked (first_pull)
    OVERLOADED = "overloaded"  # our own limit: the predicted wait exceeds the budget
    CIRCUIT_OPEN = "circuit_open"  # the breaker of this host is open


TRANSIENT = frozenset(
    {
        UpstreamFailure.UNREACHABLE,
        UpstreamFailure.TIMEOUT,
        UpstreamFailure.SERVER_ERROR,
        UpstreamFailure.RATE_LIMITED,
        UpstreamFailure.OVERLOADED,
        UpstreamFailure.CIRCUIT_OPEN,
    }
)


class UpstreamError(Exception):
    """An upstream's failure.

    `message` is public (it names the upstream, what failed and the remedy; never a secret, a query string or
    an upstream's body); `debug` is for the log only. `retry_after` is in seconds, where the upstream gave it.
    """

    def __init__(
        self, failure: UpstreamFailure, message: str, *, retry_after: float | None = None, debug: str | None = None
    ) -> None:
        """Keep the kind of failure and its public sentence."""
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.retry_after = retry_after
        self.debug = debug
