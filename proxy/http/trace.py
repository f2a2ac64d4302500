"""What is known about a request while it is answered: the material of its log event and its metrics."""

from enum import StrEnum
from typing import NamedTuple

import msgspec
from aiohttp import web

from proxy.core.access.caller import Caller
from proxy.http.oci.paths import Kind
from proxy.model.access import Action


class OtherKind(StrEnum):
    """What requests are for that are not for the distribution API, whose endpoints have a `Kind` each."""

    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    LIVE = "livez"
    READY = "readyz"
    METRICS = "metrics"
    AWS = "aws"
    ECR = "ecr"
    SECRETS_MANAGER = "secretsmanager"
    STS = "sts"


class Withheld(NamedTuple):
    """What a caller was refused of what is answered all the same: an image of several, a blob to be mounted."""

    operation: str
    subject: str | None
    reference: str | None


class Trace(msgspec.Struct, gc=False):
    """Collect what the inner layers learn about one request.

    `kind` is what the request is for (also a label of metrics); `AWS` where it names none of the services.
    `first_byte` and `started` are readings of one clock, in seconds. `client` is the address of who asked; `origin`
    are the scheme and host that were asked, where a trusted proxy told them. `principal` is who asked, known by
    `scheme`. `name` is the repository as it was asked for, `repository` the one that is meant. `operation` and
    `action` are what is done to it, `refused` that the caller may not, `withheld` what the caller may not have of
    what is answered all the same. An operation of an API is itself the `reference`; `content` is what of the
    repository it is about. `received` counts the bytes of the request's body, `sent` those of a streamed answer;
    `status` is set where an answer was whole although its handler did not return; `broken` says why an answer ended
    early: client left, slow client, aborted, cut off (by the end of the server). `error` is the code of an error
    answer, `debug` what the client is not told about it.
    """

    request_id: str
    started: float
    client: str | None = None
    origin: str | None = None
    principal: str | None = None
    scheme: str = "none"
    kind: Kind | OtherKind = OtherKind.UNKNOWN
    name: str | None = None
    reference: str | None = None
    namespace: str | None = None
    repository: str | None = None
    operation: str | None = None
    action: Action | None = None
    refused: bool = False
    withheld: Withheld | None = None
    content: str | None = None
    rule: str | None = None
    cache: str = "none"
    first_byte: float | None = None
    received: int = 0
    sent: int | None = None
    status: int | None = None
    error: str | None = None
    debug: str | None = None
    broken: str | None = None


TRACE = web.RequestKey("trace", Trace)


def introduce(request: web.Request, caller: Caller) -> Caller:
    """Tell the trace of a request who makes it; return the caller with what its connection says of it."""
    trace = request[TRACE]
    trace.principal, trace.scheme = caller.principal or None, caller.scheme
    secure = (trace.origin or request.scheme).startswith("https")
    return Caller(caller.principal, caller.scheme, trace.client, caller.scopes, caller.token, secure)
