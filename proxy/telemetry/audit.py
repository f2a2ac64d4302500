"""The audit trail: what was changed and what was refused, one JSON line each, in files of bounded size."""

import asyncio
import contextvars
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Protocol

import msgspec
import structlog

from proxy.telemetry.locks import alone_with
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.redaction import redact_text

_log = structlog.get_logger(__name__)

_MODE = 0o600
# Names of clients' choice are cut, so that one event stays one short line.
_LONGEST = 512


class AuditKind(StrEnum):
    """What an event tells of."""

    CHANGE = "change"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did, or was refused, what to which subject, from where, and what came of it.

    `operation` has the names of IAM policies (``ecr:PutImage``) or those of commands (``rules.create``). `subject` is a
    repository, a rule's prefix, a secret; `reference` a tag or digest. `result` is ``done`` or the code of the error.
    `principal` is "" for anonymous callers.
    """

    kind: AuditKind
    operation: str
    principal: str = ""
    scheme: str = "none"
    address: str | None = None
    subject: str | None = None
    reference: str | None = None
    result: str = "done"
    status: int | None = None
    request_id: str | None = None
    detail: Mapping[str, str | int] = field(default_factory=dict)

    def line(self, now: datetime) -> bytes:
        """Return the event as JSON, in one line; what is not known is left out."""
        members = {
            "time": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": self.kind.value,
            "operation": self.operation,
            "principal": self.principal or "anonymous",
            "scheme": self.scheme,
            "address": self.address,
            "subject": self.subject,
            "reference": self.reference,
            "result": self.result,
            "status": self.status,
            "request_id": self.request_id,
            **self.detail,
        }
        return msgspec.json.encode({key: _tidy(value) for key, value in members.items() if value is not None}) + b"\n"


class AuditTrail(Protocol):
    """Where audit events go."""

    async def record(self, event: AuditEvent) -> None:
        """Write the event down before returning; a failure is told to log and metrics, never to the caller."""


class BlockingTrail(Protocol):
    """An `AuditTrail` as threads use it."""

    def write(self, event: AuditEvent) -> None:
        """Do what `AuditTrail.record` does; blocks."""


class NoAudit:
    """The `AuditTrail` of a server that keeps none."""

    async def record(self, event: AuditEvent) -> None:
        """Do nothing."""

    def write(self, event: AuditEvent) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class AuditFile:
    """The `AuditTrail` in a file. Several processes may write to one file.

    Once it has `max_size` bytes it is put aside as ``<name>.1``, and what was put aside before moves on by one; `keep`
    of them stay. A file that is moved away by others (logrotate) is made anew with the next event.
    """

    def __init__(self, path: Path, metrics: Metrics, *, max_size: int, keep: int) -> None:
        """Open nothing yet; folders that are missing are made with the first event."""
        self._path = path
        self._metrics = metrics
        self._max_size = max_size
        self._keep = keep
        self._one_at_a_time = Lock()
        self._file = -1

    async def record(self, event: AuditEvent) -> None:
        """Append the event; the bytes are with the operating system when this returns.

        Also where the caller is cancelled meanwhile: a client that leaves takes nothing back.
        """
        # Not `to_thread`: cancelled before a thread is free for it, it would never run.
        context, loop = contextvars.copy_context(), asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, context.run, self.write, event))

    def write(self, event: AuditEvent) -> None:
        """Append the event as `record` does; for threads."""
        try:
            self._append(event.line(datetime.now(UTC)))
        except OSError as error:
            self._metrics.audit_failures.inc()
            _log.error("audit.not_written", path=str(self._path), error=str(error), operation=event.operation)
        else:
            self._metrics.audit_events.labels(event.kind.value).inc()

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        with self._one_at_a_time:
            self._close()

    def _append(self, line: bytes) -> None:
        with self._one_at_a_time:
            self._ensure_open()
            with alone_with(self._path):
                # Another process may have put the file aside while this one waited.
                self._ensure_open()
                if self._is_full_for(line):
                    self._rotate()
                self._write(line)

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._file).st_size
        written = os.write(self._file, line)
        if written < len(line):
            # A disk that is full takes a part. It would spoil the line that comes next, too.
            os.ftruncate(self._file, before)
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written")

    def _ensure_open(self) -> None:
        if self._file >= 0:
            try:
                there, here = self._path.stat(), os.fstat(self._file)
                if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                    return
            except FileNotFoundError:
                pass
            self._close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def _is_full_for(self, line: bytes) -> bool:
        size = os.fstat(self._file).st_size
        return size > 0 and size + len(line) > self._max_size

    def _rotate(self) -> None:
        for number in range(self._keep, 0, -1):
            source = self._path if number == 1 else self._aside(number - 1)
            if source.exists():
                source.replace(self._aside(number))
        self._ensure_open()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _tidy(value: str | int) -> str | int:
    if not isinstance(value, str):
        return value
    text = redact_text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
