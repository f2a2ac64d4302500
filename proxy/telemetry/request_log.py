"""The log of requests: one event each, which is most of all that a registry logs.

Rendering an event takes longer than looking up the manifest that it tells of. So where events are lines of JSON, these
are written without a detour: encoded at once, after one look at all that clients could have put into them. Where that
could hold a secret, the event goes through the redaction that all other events go through, member by member.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec
import structlog

from proxy.telemetry.redaction import could_hold_secrets, redact

EVENT: Final = "request.answered"

Level = Literal["debug", "info"]

_log = structlog.get_logger(__name__)


class Answered(msgspec.Struct, gc=False):
    """What became of a request; all of it stands in the log, in this order, and what is not known as null.

    `ms` is how long it took until its handler was done, `ttfb_ms` until the first byte of the answer left. `bytes` were
    sent as the body, `received` as that of the request. `broken` says why an answer ended early, `error` is the code of
    an error answer, `debug` what the client was not told about it. The other members are those of the trace.
    """

    timestamp: datetime
    level: Level
    event: str
    method: str
    kind: str
    principal: str | None
    name: str | None
    reference: str | None
    ns: str | None
    rule: str | None
    cache: str
    status: int
    bytes: int
    received: int
    ms: float
    ttfb_ms: float
    error: str | None
    debug: str | None
    broken: str | None
    client: str | None
    user_agent: str
    request_id: str


class RequestLog(Protocol):
    """Where requests are told."""

    def answered(self, answered: Answered) -> None:
        """Log the event, at its level."""


class EventRequestLog:
    """The `RequestLog` that goes by structlog, as all other events do."""

    def answered(self, answered: Answered) -> None:
        """Log the event."""
        log = _log.debug if answered.level == "debug" else _log.info
        event = msgspec.structs.asdict(answered)
        log(event.pop("event"), **{key: event[key] for key in event if key not in {"timestamp", "level"}})


class LineRequestLog:
    """The `RequestLog` that makes lines of JSON itself: the same as come out of structlog for the same event.

    `passes` tells whether a level is logged now; `write` takes lines without their end.
    """

    def __init__(self, passes: Callable[[str], bool], write: Callable[[bytes], None]) -> None:
        self._passes = passes
        self._write = write
        self._encode = msgspec.json.Encoder().encode

    def answered(self, answered: Answered) -> None:
        """Write the line; it is with the operating system when this returns."""
        if not self._passes(answered.level):
            return
        # All that is not of our own making, nor of a grammar in which no secret can be spelled, as names have one.
        free = (
            f"{answered.principal} {answered.reference} {answered.ns} {answered.debug} {answered.client} "
            f"{answered.user_agent} {answered.request_id}"
        )
        if free.isascii() and not could_hold_secrets(free):
            self._write(self._encode(answered))
            return
        event = msgspec.structs.asdict(answered)
        self._write(self._encode({"timestamp": event.pop("timestamp"), **redact(None, "", event)}))
