"""What is known about a request while it is answered: the material of its log event and its metrics."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(slots=True)
class Trace:
    """Collect what the inner layers learn about one request.

    `kind` is the kind of endpoint (bounded: a label of metrics). `first_byte` and `started` are readings of one
    clock, in seconds. `client` is the address of who asked; `origin` are the scheme and host that were asked, where a
    trusted proxy told them. `received` counts the bytes of the request's body, `sent` those of a streamed answer;
    `status` is set where an answer was whole although its handler did not return; `broken` says why an answer ended
    early: client left, aborted, cut off (by the end of the server). `error` is the code of an error answer, `debug`
    what the client is not told about it.
    """

    request_id: str
    started: float
    client: str | None = None
    origin: str | None = None
    kind: str = "unknown"
    name: str | None = None
    reference: str | None = None
    namespace: str | None = None
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
