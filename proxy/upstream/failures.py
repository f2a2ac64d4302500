"""What an upstream's refusal means: from status, headers and error document to `UpstreamError`."""

import random
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp

from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.upstream.answers import Answer
from proxy.upstream.kinds import kind_of
from proxy.upstream.query import Kind, Query

_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404
_METHOD_NOT_ALLOWED, _PROXY_AUTHENTICATION, _REQUEST_TIMEOUT = 405, 407, 408
_TOO_EARLY, _TOO_MANY, _SERVER_ERRORS = 425, 429, 500

# TAG_EXPIRED is quay's; NOT_FOUND is Harbor's word for all three.
_UNKNOWN_CODES = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "TAG_EXPIRED", "NOT_FOUND"})
_OTHERS = {_METHOD_NOT_ALLOWED: UpstreamFailure.UNSUPPORTED, _REQUEST_TIMEOUT: UpstreamFailure.TIMEOUT}
_GET_REFUSALS = frozenset({_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN})
# A link is often signed for GET only.
_LINK_REFUSALS = {"GET": _GET_REFUSALS, "HEAD": _GET_REFUSALS | {_METHOD_NOT_ALLOWED}}
_LONGEST_WAIT = 24 * 3600.0
_LEAST_WAIT = 1.0
_PART = r"\d{1,19}(?:\.\d{0,19})?(?:ns|[uµμ]s|ms|s|m|h)"
# What Go prints for a duration: 880.092µs, 1.5s, 1m30s. ghcr.io writes one into its message, without a header.
_GO_DURATION = re.compile(rf"({_PART}(?:{_PART})*)\b", re.IGNORECASE)
_GO_PART = re.compile(r"([\d.]+)([a-zµμ]+)", re.IGNORECASE)
_TEXT_WAIT = re.compile(rf"retry[- ]after:?\s*{_GO_DURATION.pattern}", re.IGNORECASE)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class LinkRefusedError(UpstreamError):
    """The storage behind a registry refused the link that the registry gave: it expired, or is not valid yet."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(
            UpstreamFailure.SERVER_ERROR,
            f"{answer.host} answered {answer.status} to the link that {answer.query.rule.upstream} gave for "
            f"{answer.query.what}",
        )


async def failure_of(answer: Answer, now: float) -> UpstreamError:
    """Return the error that `answer`, which is not the content asked for, stands for.

    `now` is the time in seconds since the epoch, for a Retry-After that is a date.
    """
    status, query = answer.status, answer.query
    refused = f"{answer.host} answered {status} to a request for {query.what}"
    if query.kind is Kind.BLOB and not answer.own and status in _LINK_REFUSALS[query.method]:
        return LinkRefusedError(answer)
    if status == _FORBIDDEN and await is_ban(answer):
        return banned(answer)
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return denied(answer)
    if status == _NOT_FOUND and await _is_certain(answer):
        return UpstreamError(UpstreamFailure.NOT_FOUND, f"{query.rule.upstream} has no {query.what}")
    if status == _PROXY_AUTHENTICATION:
        return UpstreamError(
            UpstreamFailure.UNREACHABLE, f"the forward proxy of rule {query.rule.prefix} asks for credentials: `proxy`"
        )
    if status == _TOO_MANY:
        wait = _retry_after(answer, now, " ".join((await answer.errors()).values()))
        return UpstreamError(
            UpstreamFailure.RATE_LIMITED, f"{answer.host} limits our rate of requests", retry_after=_pause(answer, wait)
        )
    if status >= _SERVER_ERRORS or status == _TOO_EARLY:
        return UpstreamError(UpstreamFailure.SERVER_ERROR, refused, retry_after=_retry_after(answer, now))
    return UpstreamError(_OTHERS.get(status, UpstreamFailure.GARBAGE), refused)


def connection_failure(error: Exception, query: Query, host: str) -> UpstreamError:
    """Return what a failure to get the headers of an answer means.

    No text of aiohttp's is kept that could hold a URL: its query may be a signature.
    """
    rule = query.rule
    failure, debug = UpstreamFailure.UNREACHABLE, type(error).__name__
    match error:
        case TimeoutError():
            failure, sentence = UpstreamFailure.TIMEOUT, f"{host} did not answer a request for {query.what} in time"
        case aiohttp.ClientConnectorCertificateError():
            debug = str(error.certificate_error)
            sentence = (
                f"the certificate of {host} is not trusted; "
                "if it is the right one, add its authority to `ca_file` of the rule or of `upstreams`"
            )
        case aiohttp.ClientProxyConnectionError():
            sentence = f"the forward proxy of rule {rule.prefix} (`proxy`) cannot be reached"
        case aiohttp.ClientHttpProxyError():
            sentence = f"the forward proxy of rule {rule.prefix} (`proxy`) answered {error.status} for {host}"
        case aiohttp.ClientConnectorDNSError():
            sentence = f"the name {host} cannot be resolved; check {_named(rule, host)} and the DNS of this machine"
        case aiohttp.ClientSSLError():
            sentence = f"no TLS connection to {host}; check {_named(rule, host)}: with `http://` it means plain HTTP"
        case aiohttp.ClientConnectorError():
            debug = f"{debug}: {error.os_error}"
            sentence = f"{host} cannot be reached; check {_named(rule, host)}, the network, and the need for a `proxy`"
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            failure, sentence = UpstreamFailure.GARBAGE, f"{host} does not speak HTTP as it should"
        case _:
            sentence = f"{host} closed the connection; try again, and check {_named(rule, host)}"
    return UpstreamError(failure, sentence, debug=debug)


def _named(rule: CacheRule, host: str) -> str:
    """Say where the name of a host comes from."""
    return f"`upstream` of rule {rule.prefix}" if host == rule.upstream.host else f"why {rule.upstream} leads there"


def denied(answer: Answer) -> UpstreamError:
    """Return the error for a refusal of the repository, as opposed to one of the credentials."""
    return UpstreamError(
        UpstreamFailure.DENIED, f"{answer.host} denies {answer.query.what}: {remedy(answer.query.rule)}"
    )


async def is_ban(answer: Answer) -> bool:
    """Tell whether a 403 shuts out this address, rather than saying something about a repository or an account."""
    # An answer to HEAD has no document; its type still tells.
    shown = answer.media_type.startswith("text/") and answer.site
    return shown and kind_of(answer.query.rule.upstream).ban > 0 and not await answer.errors()


def banned(answer: Answer) -> UpstreamError:
    """Return the error for an address that was shut out; asking goes on only when that is over."""
    rule = answer.query.rule
    return UpstreamError(
        UpstreamFailure.RATE_LIMITED,
        f"{answer.host} has shut out this address, as it does for an hour after many failed logins; "
        f"check the `credentials` of rule {rule.prefix} and of all others who log in from here",
        retry_after=kind_of(rule.upstream).ban,
    )


def remedy(rule: CacheRule) -> str:
    """Return the half-sentence that says what to do about a denial."""
    if rule.credentials is None:
        return f"it does not exist, or is private and rule {rule.prefix} has no `credentials`"
    return f"it does not exist, or the `credentials` of rule {rule.prefix} may not pull it"


async def _is_certain(answer: Answer) -> bool:
    """Tell whether a 404 is the registry's own word that there is no such thing."""
    if answer.query.method == "HEAD":
        # There is no body to look at. Distribution sends a JSON type; others only the version header, or nothing.
        plausible = answer.media_type in {"", "application/json"}
        return answer.own and (plausible or "Docker-Distribution-API-Version" in answer.headers)
    codes = frozenset(await answer.errors())
    if answer.query.kind is Kind.MANIFEST:
        # registry.k8s.io redirects manifests to the registry that really has them.
        return bool(codes & _UNKNOWN_CODES)
    known = _UNKNOWN_CODES | {"BLOB_UNKNOWN"} if answer.query.kind is Kind.BLOB else _UNKNOWN_CODES
    return answer.own and bool(codes & known)


def _retry_after(answer: Answer, now: float, text: str = "") -> float | None:
    """Return the seconds to wait (RFC 9110 §10.2.3), at most a day; None if the upstream named none."""
    header = answer.headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return min(float(header), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        found = _GO_DURATION.fullmatch(header) or _TEXT_WAIT.search(text)
        return min(_go_seconds(found[1]), _LONGEST_WAIT) if found else None
    moment = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - now), _LONGEST_WAIT)


def _go_seconds(duration: str) -> float:
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _GO_PART.findall(duration))


def _pause(answer: Answer, named: float | None) -> float:
    """Return how long to leave a registry alone after a 429: the time it named, never less than a second.

    What is not its own word is lengthened by up to a half, so that those who were refused together come back apart.
    """
    if named is not None and named >= _LEAST_WAIT:
        return named
    least = _LEAST_WAIT if named is not None else kind_of(answer.query.rule.upstream).limit_pause
    return least * random.uniform(1, 1.5)  # noqa: S311 - jitter
