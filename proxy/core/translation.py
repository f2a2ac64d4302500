"""From an upstream's failure to what a client is told: the only place where one becomes the other."""

from enum import Enum

from proxy.core.policy import Policy
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure, retry_after
from proxy.model.rule import Remote


class Missing(Enum):
    """How an answer says that the content asked for does not exist."""

    MANIFEST = ErrorCode.MANIFEST_UNKNOWN
    BLOB = ErrorCode.BLOB_UNKNOWN
    REPOSITORY = ErrorCode.NAME_UNKNOWN


class FetchRefusedError(ProxyError):
    """What was asked for is not kept, and the caller may not have it fetched (DENIED)."""


def translate(error: UpstreamError, remote: Remote, missing: Missing, policy: Policy) -> ProxyError:
    """Return the answer for a client when `remote` failed and no kept copy bridges it.

    Never a 401: it would make clients send their credentials for the upstream to this registry, in a loop.
    """
    upstream = f"{remote.rule.upstream}/{remote.repository}"
    rule, kind = remote.rule.prefix, ProxyError
    code, message, headers = ErrorCode.UPSTREAM_INVALID, error.message, dict[str, str]()
    match error.failure:
        case UpstreamFailure.UNREACHABLE | UpstreamFailure.SERVER_ERROR | UpstreamFailure.CIRCUIT_OPEN:
            code = ErrorCode.UPSTREAM_UNAVAILABLE
        case UpstreamFailure.TIMEOUT:
            code = ErrorCode.UPSTREAM_TIMEOUT
        case UpstreamFailure.RATE_LIMITED | UpstreamFailure.OVERLOADED:
            # Without Retry-After, clients repeat at once (containerd) or not at all.
            code, headers = ErrorCode.TOOMANYREQUESTS, retry_after(_wait(error.retry_after, policy))
        case UpstreamFailure.CREDENTIALS_REFUSED:
            code = ErrorCode.DENIED
            message = f"{remote.rule.upstream} refused the credentials of the rule {rule}; mend its `credentials`"
        case UpstreamFailure.DENIED:
            code, message = _denied(remote, policy)
        case UpstreamFailure.NOT_FOUND:
            code, message = missing.value, f"{upstream} does not hold what was asked for"
        case UpstreamFailure.OFFLINE:
            # 404 is final for every client and comes at once; a 5xx would be repeated, to no avail.
            code, message = (
                missing.value,
                f"it is not kept here, and the rule {rule} is set offline: nothing is fetched",
            )
        case UpstreamFailure.NOT_PERMITTED:
            code, kind = ErrorCode.DENIED, FetchRefusedError
            message = "it is not kept here, and you may not have it fetched (first_pull)"
        case _:  # nonsense, or a target that was refused: the message tells what, and which key permits it
            pass
    return kind(
        code,
        message,
        detail={"rule": rule, "upstream": upstream, "reason": error.failure.value},
        debug=error.debug,
        headers=headers,
    )


def _denied(remote: Remote, policy: Policy) -> tuple[ErrorCode, str]:
    """Registries do not tell whether a repository is private or absent; so neither can we."""
    rule, upstream = remote.rule.prefix, f"{remote.rule.upstream}/{remote.repository}"
    if remote.rule.credentials is not None:
        return (
            ErrorCode.DENIED,
            f"{upstream} does not exist, or the account of rule {rule} may not read it; check its `credentials`",
        )
    code = ErrorCode.DENIED if policy.ecr else ErrorCode.NAME_UNKNOWN
    return code, f"{upstream} does not exist, or is private and rule {rule} has no credentials"


def _wait(told: float | None, policy: Policy) -> float:
    return told if told is not None else policy.negative_ttl.total_seconds()
