"""Signatures of requests to the AWS APIs: Signature Version 4, in the header or in the query of a presigned URL.

What botocore signs is computed by botocore's own signer once more, from the request as it came. Facts:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp import hdrs, web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from proxy.core.access.ports import AccessKeys
from proxy.core.ports import Clock
from proxy.http.aws.claims import is_presigned
from proxy.http.trace import TRACE
from proxy.model.access_keys import AccessKey
from proxy.model.api_errors import ApiError, ApiErrorCode

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SKEW: Final = timedelta(minutes=5)
"""How far the clocks of client and server may be apart."""

LONGEST: Final = timedelta(days=7)
"""How long a presigned URL may be good."""

_TERMINATOR: Final = "aws4_request"
_ISO: Final = "%Y%m%dT%H%M%SZ"

# Where STS is asked without a region of its own, SDKs sign for these.
_GLOBAL: Final[Mapping[str, frozenset[str]]] = {"sts": frozenset({"us-east-1", "aws-global"})}

_DATE: Final = "x-amz-date"
_PAYLOAD: Final = "x-amz-content-sha256"
_TOKEN: Final = "x-amz-security-token"  # noqa: S105 - the name of a header
_PREFIX: Final = "x-amz-"
# What says who made the SDK decides nothing, and some SDKs leave it unsigned.
_UNSIGNED: Final = frozenset({"x-amz-user-agent"})
# A reader in between may take another one of them than we do.
_SINGLE: Final = frozenset({"authorization", "host", "date", "content-type", "content-length"})

_IN_HEADER: Final = frozenset({"Credential", "SignedHeaders", "Signature"})
_IN_QUERY: Final[Mapping[str, str]] = {
    "X-Amz-Algorithm": "Algorithm",
    "X-Amz-Credential": "Credential",
    "X-Amz-Date": "Date",
    "X-Amz-Expires": "Expires",
    "X-Amz-SignedHeaders": "SignedHeaders",
    "X-Amz-Signature": "Signature",
}

_ELEMENT = re.compile(r"[A-Za-z0-9_.@+=-]{1,128}", re.ASCII)
_SIGNED_HEADERS = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}(?:;[a-z0-9!#$%&'*+.^_`|~-]{1,128}){0,99}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
# RFC 9110 §5.6.7, and the zone as botocore writes it.
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:GMT|[+-]0000)")
_SECONDS = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its signature, each part of the form that it must have, and none of it true so far."""

    credential: tuple[str, str, str, str, str]
    headers: tuple[str, ...]
    signature: str
    timestamp: str
    expires: int | None = None

    @property
    def time(self) -> datetime:
        """Return when the request says that it was signed."""
        return datetime.strptime(self.timestamp, _ISO).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed request whose body is still to come: key, scope and date are in order."""

    key: AccessKey
    service: str
    region: str
    timestamp: str
    signature: str
    requests: tuple[AWSRequest, ...]
    payload: str | None

    def verify(self, body: bytes) -> None:
        """Raise `ApiError` InvalidSignatureException unless the owner of the key signed the request with this body.

        A large body is hashed for long: not on the event loop.
        """
        payload = hashlib.sha256(body).hexdigest()
        if self.payload not in {None, payload}:
            raise self._mismatch("The body does not have the hash that X-Amz-Content-Sha256 tells. ")
        signer = _Signer(self.key, self.service, self.region, payload)
        # Each is computed, whichever fits: what differs is public, and the time tells nothing of it.
        fitting = [hmac.compare_digest(signer.sign(each), self.signature) for each in self.requests]
        if not any(fitting):
            raise self._mismatch("")

    def _mismatch(self, reason: str) -> ApiError:
        code = ApiErrorCode.InvalidSignatureException
        hosts = ", ".join(each.headers.get("host", "none") for each in self.requests)
        return ApiError(code, f"{reason}{code.message}", debug=f"access key {self.key.id}; signed for one of: {hosts}?")


class Signatures:
    """Verify signatures by the access keys of one registry, which is in `region`.

    `public_url` is the origin under which clients reach the registry, where a proxy may pass on another Host.
    """

    def __init__(self, keys: AccessKeys, clock: Clock, region: str, public_url: str | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._region = region
        self._public = _authority(public_url) if public_url is not None else None

    def examine(self, request: web.Request, service: str) -> Signed | None:
        """Return the signature of a request to `service`, or None where it claims to have none.

        All is checked that the body is not needed for. Raises `ApiError`: IncompleteSignatureException for what is no
        signature, InvalidSignatureException for one of another place or time or of too little, and
        UnrecognizedClientException for a key that there is not.
        """
        query = request.rel_url.raw_query_string
        presigned, text = is_presigned(request), request.headers.get(hdrs.AUTHORIZATION)
        if text is None and not presigned:
            return None
        _refuse_repeated(request)
        if text is not None and presigned:
            raise _incomplete("The request has a signature in Authorization and another one in its query.")
        pairs = _pairs(query)
        claim = _claim_of_query(pairs) if text is None else _claim_of_header(request, text)
        key, date, region, _, _ = claim.credential
        self._check_scope(claim, service)
        if date != claim.timestamp[:8]:
            raise _invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{date}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'."
            )
        self._check_time(claim)
        _check_headers(request, claim)
        found = self._keys.find(key)
        # Keys of this registry are permanent: none has a token.
        if found is None or _TOKEN in request.headers or any(name.lower() == _TOKEN for name, _ in pairs):
            raise ApiError(ApiErrorCode.UnrecognizedClientException, debug=f"access key {key}")
        return Signed(
            found,
            service,
            region,
            claim.timestamp,
            claim.signature,
            self._requests(request, claim, pairs),
            request.headers.get(_PAYLOAD),
        )

    def _check_scope(self, claim: _Claim, service: str) -> None:
        _, _, region, meant, terminator = claim.credential
        if terminator != _TERMINATOR:
            raise _invalid(f"Credential should be scoped with a valid terminator: '{_TERMINATOR}', not '{terminator}'.")
        if region != self._region and region not in _GLOBAL.get(service, ()):
            raise _invalid(f"Credential should be scoped to a valid region, not '{region}'.")
        if meant != service:
            raise _invalid(f"Credential should be scoped to correct service: '{service}'.")

    def _check_time(self, claim: _Claim) -> None:
        now, began, minutes = datetime.fromtimestamp(self._clock.now(), UTC), claim.time, SKEW.seconds // 60
        if began > now + SKEW:
            raise _invalid(
                f"Signature not yet current: {claim.timestamp} is still later than {now + SKEW:{_ISO}} "
                f"({now:{_ISO}} + {minutes} min.)"
            )
        if claim.expires is not None:
            ended = began + timedelta(seconds=claim.expires)
            if ended < now:
                raise _invalid(f"Signature expired: {ended:{_ISO}} is now earlier than {now:{_ISO}}")
        elif began < now - SKEW:
            raise _invalid(
                f"Signature expired: {claim.timestamp} is now earlier than {now - SKEW:{_ISO}} "
                f"({now:{_ISO}} - {minutes} min.)"
            )

    def _requests(self, request: web.Request, claim: _Claim, pairs: list[tuple[str, str]]) -> tuple[AWSRequest, ...]:
        """Return the request as its sender may have signed it: proxies may have put another name into Host."""
        told, origin = request.headers.get(hdrs.HOST), request[TRACE].origin
        hosts = [told, _authority(origin) if origin is not None else None, self._public]
        # Of a request that is signed in its header, all of the query is.
        unsigned = "X-Amz-Signature" if claim.expires is not None else None
        signed = [(name, value) for name, value in pairs if name != unsigned]
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


class _Signer(SigV4Auth):
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


def _claim_of_header(request: web.Request, text: str) -> _Claim:
    algorithm, _, rest = text.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Authorization does not begin with {ALGORITHM}, the only algorithm that is taken.")
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip(" ").partition("=")
        if not equals or name in fields or name not in _IN_HEADER:
            raise _incomplete("A part of Authorization is not a key=value pair, is unknown or is there twice.")
        fields[name] = value
    for name in sorted(_IN_HEADER - fields.keys()):
        raise _incomplete(f"Authorization header requires '{name}' parameter.")
    return _claim(fields, _timestamp(request))


def _claim_of_query(pairs: Iterable[tuple[str, str]]) -> _Claim:
    fields: dict[str, str] = {}
    for name, value in pairs:
        part = _IN_QUERY.get(name)
        if part in fields:
            raise _incomplete(f"The query has {name} twice.")
        if part is not None:
            fields[part] = value
    for name, part in _IN_QUERY.items():
        if part not in fields:
            raise _incomplete(f"AWS query-string parameters must include '{name}'.")
    if fields["Algorithm"] != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm is not {ALGORITHM}, the only algorithm that is taken.")
    longest = int(LONGEST.total_seconds())
    if _SECONDS.fullmatch(fields["Expires"]) is None or int(fields["Expires"]) > longest:
        raise _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {longest}.")
    return _claim(fields, _iso(fields["Date"]), int(fields["Expires"]))


def _claim(fields: Mapping[str, str], timestamp: str, expires: int | None = None) -> _Claim:
    elements = fields["Credential"].split("/")
    if len(elements) != 5 or not all(map(_ELEMENT.fullmatch, elements)):  # noqa: PLR2004 - as the sentence says
        raise _incomplete("Credential must have exactly 5 slash-delimited elements: keyid/date/region/service/term.")
    key, date, region, service, terminator = elements
    names = fields["SignedHeaders"].split(";")
    if _SIGNED_HEADERS.fullmatch(fields["SignedHeaders"]) is None or names != sorted(set(names)):
        raise _incomplete(
            "SignedHeaders must be names of headers in lower case, in order, each once, with ';' between."
        )
    if _SIGNATURE.fullmatch(fields["Signature"]) is None:
        raise _incomplete("Signature must be 64 hexadecimal digits in lower case.")
    return _Claim((key, date, region, service, terminator), tuple(names), fields["Signature"], timestamp, expires)


def _timestamp(request: web.Request) -> str:
    """Return when a request with a signature in its header was signed, as it signs it."""
    given = request.headers.get(_DATE) or request.headers.get(hdrs.DATE)
    if given is None:
        raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if _HTTP_DATE.fullmatch(given) is None:
        return _iso(given)
    try:
        signed = parsedate_to_datetime(given).replace(tzinfo=UTC)
    except ValueError:
        raise _undated() from None
    return f"{signed.year:04}{signed:%m%dT%H%M%SZ}"  # %Y leaves zeros out


def _iso(text: str) -> str:
    if _TIMESTAMP.fullmatch(text) is None:
        raise _undated()
    try:
        datetime.strptime(text, _ISO).replace(tzinfo=UTC)
    except ValueError:
        raise _undated() from None
    return text


def _check_headers(request: web.Request, claim: _Claim) -> None:
    """Raise `ApiError` unless all is signed that must be, and all is there that is signed."""
    if "host" not in claim.headers:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in request.headers:
        folded = name.lower()
        if folded.startswith(_PREFIX) and folded not in claim.headers and folded not in _UNSIGNED:
            raise _invalid(f"'{name[:128]}' must be a 'SignedHeader' in the AWS Authorization.")
    for name in claim.headers:
        values = request.headers.getall(name, [])
        if not values and name != "host":
            raise _invalid(f"The header '{name}' is signed, but was not sent.")
        if len(values) > 1:
            raise _repeated(name)
        if not all(map(str.isascii, values)):
            raise _invalid(f"The header '{name}' is signed, and has other characters than those of ASCII.")
    if _SIGNATURE.fullmatch(request.headers.get(_PAYLOAD, "0" * 64)) is None:
        raise _invalid("X-Amz-Content-Sha256 must be the hash of the body: what is sent here is always signed.")


def _refuse_repeated(request: web.Request) -> None:
    seen = set()
    # Of what is there twice, mappings list one.
    for name, _ in request.headers.items():  # noqa: PERF102 - see above
        folded = name.lower()
        if folded in seen and (folded in _SINGLE or folded.startswith(_PREFIX)):
            raise _repeated(name)
        seen.add(folded)


def _pairs(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query, decoded.

    Only one spelling of white space is taken: a plus sign is one to those who read forms, and itself to who signs.
    """
    if not query:
        return []
    if "+" in query or not query.isascii():
        raise _incomplete("The query has a '+' or a character that is not ASCII: write it as %20, %2B or %XX.")
    try:
        return [
            (unquote(name, errors="strict"), unquote(value, errors="strict"))
            for name, _, value in (part.partition("=") for part in query.split("&"))
        ]
    except ValueError:
        raise _incomplete("The query is no text in UTF-8.") from None


def _authority(origin: str) -> str:
    """Return host and port of an origin as clients send them: without the port that goes with the scheme."""
    parts = urlsplit(origin)
    return parts.netloc.removesuffix({"http": ":80", "https": ":443"}.get(parts.scheme, ":"))


def _repeated(name: str) -> ApiError:
    return _incomplete(f"The header '{name[:128]}' was sent twice.")


def _undated() -> ApiError:
    return _incomplete("Date must be in ISO-8601 'basic format', such as 20150830T123600Z.")


def _refusal(code: ApiErrorCode) -> Callable[[str], ApiError]:
    def refuse(sentence: str) -> ApiError:
        return ApiError(code, sentence)

    return refuse


_incomplete = _refusal(ApiErrorCode.IncompleteSignatureException)
_invalid = _refusal(ApiErrorCode.InvalidSignatureException)
