"""What is known about a request while it is answered: the material of its log event and its metrics."""

import msgspec
from aiohttp import web

from proxy.core.access.caller import Caller
from proxy.model.access import Action


class Trace(msgspec.Struct, gc=False):
    """Collect what the inner layers learn about one request.

    `kind` is the kind of endpoint (bounded: a label of metrics). `first_byte` and `started` are readings of one
    clock, in seconds. `client` is the address of who asked; `origin` are the scheme and host that were asked, where a
    trusted proxy told them. `principal` is who asked, known by `scheme`. `name` is the repository as it was asked for,
    `repository` the one that is meant. `operation` and `action` are what is done to it, `refused` that the caller may
    not. `received` counts the bytes of the request's body, `sent` those of a streamed
    answer; `status` is set where an answer was whole although its handler did not return; `broken` says why an answer
    ended early: client left, slow client, aborted, cut off (by the end of the server). `error` is the code of an error
    answer, `debug` what the client is not told about it.
    """

    request_id: str
    started: float
    client: str | None = None
    origin: str | None = None
    principal: str | None = None
    scheme: str = "none"
    kind: str = "unknown"
    name: str | None = None
    reference: str | None = None
    namespace: str | None = None
    repository: str | None = None
    operation: str | None = None
    action: Action | None = None
    refused: bool = False
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
