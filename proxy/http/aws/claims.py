"""What a request claims of its signature, in its header or in its query: read before anything of it is believed.

Facts: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import unquote

from aiohttp import hdrs, web

from proxy.model.api_errors import ApiError, ApiErrorCode

ALGORITHM: Final = "AWS4-HMAC-SHA256"
LONGEST: Final = timedelta(days=7)
"""How long a presigned URL may be good."""

_ISO: Final = "%Y%m%dT%H%M%SZ"

_DATE: Final = "x-amz-date"
_PREFIX: Final = "x-amz-"
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

_Parameters = tuple[tuple[str, str], ...]


class Credential(NamedTuple):
    """What names the key, and the scope that its signatures are for."""

    key: str
    date: str
    region: str
    service: str
    terminator: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature, each part of the form that it must have, and none of it true so far.

    `headers` are the names of those that are signed, in lower case; `query` are all parameters, decoded. `expires` is
    told by presigned URLs, in seconds.
    """

    credential: Credential
    headers: tuple[str, ...]
    signature: str
    timestamp: str
    query: _Parameters
    expires: int | None = None

    @property
    def time(self) -> datetime:
        """Return when the request says that it was signed."""
        return datetime.strptime(self.timestamp, _ISO).replace(tzinfo=UTC)


def is_presigned(request: web.Request) -> bool:
    """Tell whether a request claims to be signed in its query."""
    return "X-Amz-Signature" in request.rel_url.raw_query_string


def is_signed(request: web.Request) -> bool:
    """Tell whether a request claims to be signed."""
    return is_presigned(request) or request.headers.get(hdrs.AUTHORIZATION, "").startswith("AWS4-")


def read_claim(request: web.Request) -> Claim | None:
    """Return what a request claims of its signature, None where it brings neither Authorization nor a signed query.

    Raises `ApiError` IncompleteSignatureException for what is no signature, and for what another reader on the way may
    have read in another way.
    """
    presigned, text = is_presigned(request), request.headers.get(hdrs.AUTHORIZATION)
    if text is None and not presigned:
        return None
    _refuse_repeated(request)
    if text is not None and presigned:
        raise _incomplete("The request has a signature in Authorization and another one in its query.")
    query = _parameters(request.rel_url.raw_query_string)
    return _claim_of_query(query) if text is None else _claim_of_header(request, text, query)


def repeated(name: str) -> ApiError:
    """Return the refusal of a request that has the header `name` twice."""
    return _incomplete(f"The header '{name[:128]}' was sent twice.")


def invalid(sentence: str) -> ApiError:
    """Return the refusal of a signature that is one, and is not good for this request."""
    return ApiError(ApiErrorCode.InvalidSignatureException, sentence)


def _claim_of_header(request: web.Request, text: str, query: _Parameters) -> Claim:
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
    return _claim(fields, _timestamp(request), query)


def _claim_of_query(query: _Parameters) -> Claim:
    fields: dict[str, str] = {}
    for name, value in query:
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
    return _claim(fields, _iso(fields["Date"]), query, int(fields["Expires"]))


def _claim(fields: Mapping[str, str], timestamp: str, query: _Parameters, expires: int | None = None) -> Claim:
    elements = fields["Credential"].split("/")
    if len(elements) != 5 or not all(map(_ELEMENT.fullmatch, elements)):  # noqa: PLR2004 - as the sentence says
        raise _incomplete("Credential must have exactly 5 slash-delimited elements: keyid/date/region/service/term.")
    names = fields["SignedHeaders"].split(";")
    if _SIGNED_HEADERS.fullmatch(fields["SignedHeaders"]) is None or names != sorted(set(names)):
        raise _incomplete(
            "SignedHeaders must be names of headers in lower case, in order, each once, with ';' between."
        )
    if _SIGNATURE.fullmatch(fields["Signature"]) is None:
        raise _incomplete("Signature must be 64 hexadecimal digits in lower case.")
    return Claim(Credential(*elements), tuple(names), fields["Signature"], timestamp, query, expires)


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


def _refuse_repeated(request: web.Request) -> None:
    seen = set()
    # Of what is there twice, mappings list one.
    for name, _ in request.headers.items():  # noqa: PERF102 - see above
        folded = name.lower()
        if folded in seen and (folded in _SINGLE or folded.startswith(_PREFIX)):
            raise repeated(name)
        seen.add(folded)


def _parameters(query: str) -> _Parameters:
    """Return the parameters of a query, decoded.

    Only one spelling of white space is taken: a plus sign is one to those who read forms, and itself to who signs.
    """
    if not query:
        return ()
    if "+" in query or not query.isascii():
        raise _incomplete("The query has a '+' or a character that is not ASCII: write it as %20, %2B or %XX.")
    try:
        return tuple(
            (unquote(name, errors="strict"), unquote(value, errors="strict"))
            for name, _, value in (part.partition("=") for part in query.split("&"))
        )
    except ValueError:
        raise _incomplete("The query is no text in UTF-8.") from None


def _undated() -> ApiError:
    return _incomplete("Date must be in ISO-8601 'basic format', such as 20150830T123600Z.")


def _incomplete(sentence: str) -> ApiError:
    return ApiError(ApiErrorCode.IncompleteSignatureException, sentence)
