"""Logs: one event a line on standard error, structured, through one pipeline for our own and for libraries' events.

Each line is with the operating system before the call that logs it returns: nothing is lost when the process is killed,
and who got an answer finds its event in the log. One call to write costs about a microsecond, which is all that gathering
lines could save.
"""

import logging
import re
import sys
from contextvars import ContextVar
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from proxy.telemetry.lines import render_json
from proxy.telemetry.redaction import redact

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Libraries tell at INFO what ours tell at DEBUG; and what some tell at DEBUG, headers above all, is for nobody.
_LIBRARY_LEVELS = {**_LEVELS, "debug": logging.INFO, "info": logging.WARNING}
_METHODS = {**_LEVELS, "warn": logging.WARNING, "exception": logging.ERROR, "critical": logging.CRITICAL}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request that is being answered: every event that is logged meanwhile has it."""


class LogControl:
    """Logging as it was set up. `set_level` changes it while the server runs."""

    def __init__(self, level: str) -> None:
        """Start at `level`: debug, info, warning or error."""
        self._threshold = 0
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Log events of `level` and worse from now on."""
        self._threshold = _LEVELS[level]
        logging.getLogger().setLevel(_LIBRARY_LEVELS[level])

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
    control = LogControl(level)
    described: list[Processor] = [_add_request_id, structlog.processors.add_log_level]
    finished: list[Processor] = [structlog.processors.format_exc_info]
    if console:
        described.append(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False))
        finished += [redact, _escape, _console()]
    else:
        finished.append(render_json)
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
        stream = sys.stderr
        encoded = line if isinstance(line, bytes) else line.encode(errors="backslashreplace")
        # Not through the text layer, which would decode and encode each line once more.
        stream.buffer.write(b"%b\n" % encoded)
        stream.buffer.flush()

    debug = info = warning = error = critical = exception = msg


class _Handler(logging.Handler):
    """Send the records of libraries to the same place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _StandardError().msg(self.format(record))
        except Exception:  # noqa: BLE001 - a record that cannot be written must not break what it tells of
            self.handleError(record)


def _console() -> Processor:
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say which request is being answered, where the event does not say it itself."""
    request_id = REQUEST_ID.get()
    if request_id is not None and "request_id" not in event:
        event["request_id"] = request_id
    return event


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Show control characters as escapes: a name in a request must not forge lines or move the cursor."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], value)
    return event
