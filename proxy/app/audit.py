"""What this server, and its commands, tell the audit trail: where it is, and what is taken over from files."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from proxy.config.auth import AuthSettings
from proxy.config.reload import Outcome, Tell
from proxy.config.settings import Settings
from proxy.identity.watched import Look
from proxy.storage.layout import Layout
from proxy.telemetry.audit import AuditEvent, AuditFile, AuditKind, NoAudit
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.notices import Notices


def audit_trail(settings: Settings, metrics: Metrics) -> AuditFile | NoAudit:
    """Return where these settings have audit events written; nothing is opened yet, and the caller closes it."""
    layout = Layout(settings.storage.path)
    path = settings.audit.path or (layout.audit if isinstance(settings.auth, AuthSettings) else None)
    if path is None:
        return NoAudit()
    return AuditFile(path, metrics, max_size=settings.audit.max_size, keep=settings.audit.keep)


def telling_of_reloads(notices: Notices, path: Path) -> Tell:
    """Return what tells of each change, and each fault, of the configuration at `path`: once for all workers."""
    first = True

    async def tell(outcome: Outcome) -> None:
        nonlocal first
        waiting, faults = ", ".join(outcome.waiting), len(outcome.faults)
        event = _reload("config:Reload", path, ", ".join(outcome.taken) or None)
        if faults:
            event = replace(event, result="INVALID", detail={"faults": faults})
        elif waiting:
            event = replace(event, detail={"restart_needed": waiting})
            event = event if outcome.taken else replace(event, result="RESTART_NEEDED")
        if outcome.taken or waiting or faults:
            await notices.tell("configuration", outcome.state, event)
        else:
            # A worker that begins finds what is in force; those that took it over may have ended before they told.
            await notices.keep("configuration", outcome.state, event if first else None)
        first = False

    return tell


def telling_of_identities(notices: Notices) -> Callable[[Look], Awaitable[None]]:
    """Return what tells of each change, and each fault, of the files of identities: once for all workers."""

    async def tell(look: Look) -> None:
        event = _reload("auth:Reload", look.path, look.setting)
        if look.fault is None:
            event = replace(event, detail={"entries": look.entries})
        else:
            event = replace(event, result="INVALID")
        state = look.content if look.fault is None else look.fault.encode()
        if look.changed or look.fault is not None:
            await notices.tell(look.setting, state, event)
        else:
            await notices.keep(look.setting, state, event if look.first else None)

    return tell


def _reload(operation: str, path: Path, reference: str | None) -> AuditEvent:
    return AuditEvent(
        AuditKind.CHANGE,
        operation,
        principal="local:file",
        scheme="local",
        subject=str(path),
        reference=reference,
    )
