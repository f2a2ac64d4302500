"""Logs: one event a line on standard error, structured, through one pipeline for our own and for libraries' events.

The log of requests goes by it, or past it to the same place (`request_log`). Each line is with the operating system
before the call that logs it returns: nothing is lost when the process is killed, and who got an answer finds its event
in the log.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from proxy.telemetry.redaction import redact
from proxy.telemetry.request_log import EventRequestLog, LineRequestLog, RequestLog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Libraries tell at INFO what ours tell at DEBUG; and what some tell at DEBUG, headers above all, is for nobody.
_LIBRARY_LEVELS = {**_LEVELS, "debug": logging.INFO, "info": logging.WARNING}
_METHODS = {**_LEVELS, "warn": logging.WARNING, "exception": logging.ERROR, "critical": logging.CRITICAL}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request that is being answered: all events that are logged meanwhile have it."""


class LogControl:
    """Logging as it was set up. `set_level` changes it while the server runs."""

    def __init__(self, level: str, *, lines: bool = False) -> None:
        """Start at `level`: debug, info, warning or error. `lines` tells that events are lines of JSON."""
        self._threshold = 0
        self.set_level(level)
        self.request_log: RequestLog = LineRequestLog(self.passes, _StandardError().msg) if lines else EventRequestLog()
        """Where requests are told."""

    def set_level(self, level: str) -> None:
        """Log events of `level` and worse from now on."""
        self._threshold = _LEVELS[level]
        logging.getLogger().setLevel(_LIBRARY_LEVELS[level])

    def passes(self, level: str) -> bool:
        """Tell whether events of `level` are logged."""
        return _LEVELS[level] >= self._threshold

    def drop_below(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Let an event pass, or raise `structlog.DropEvent` (a structlog processor, the first)."""
        if _METHODS[method] < self._threshold:
            raise structlog.DropEvent
        return event


def configure_logging(level: str, output: str, *, permanent: bool = False) -> LogControl:
    """Set up logging for this process.

    `output` is ``json``, ``console``, or ``auto``: for people where standard error is a terminal, JSON lines
    otherwise. Standard output stays free for data. `permanent` promises that logging is not set up again in this
    process: loggers are then built once each.
    """
    console = output == "console" or (output == "auto" and sys.stderr.isatty())
    control = LogControl(level, lines=not console)
    described: list[Processor] = [
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    finished: list[Processor] = [structlog.processors.format_exc_info, redact, *_renderers(console=console)]
    structlog.configure(
        processors=[control.drop_below, *described, *finished],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=permanent,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *described],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finished],
        )
    )
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(capture=True)
    return control


class _StandardError:
    """Write lines to whatever standard error is at that moment."""

    def msg(self, line: str | bytes) -> None:
        encoded = line if isinstance(line, bytes) else line.encode(errors="backslashreplace")
        # Not by the text layer: it costs more than the call to the kernel, which takes about a microsecond.
        output = sys.stderr.buffer
        output.write(b"%b\n" % encoded)
        output.flush()

    debug = info = warning = error = critical = exception = msg


class _Handler(logging.Handler):
    """Send the records of libraries to the same place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _StandardError().msg(self.format(record))
        except Exception:  # noqa: BLE001 - a record that cannot be written must not break what it tells of
            self.handleError(record)


def _renderers(*, console: bool) -> list[Processor]:
    if console:
        plain = structlog.dev.plain_traceback
        return [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [_render_json]


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say which request is being answered, where the event does not say it itself."""
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> str:
    # What every line has comes first: people read JSON lines too.
    head = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return msgspec.json.encode({**head, **event}).decode()


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Show control characters as escapes: a name in a request must not forge lines or move the cursor."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], value)
    return event
