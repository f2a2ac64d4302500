"""What commands tell the audit trail."""

import asyncio
import getpass
import os
from dataclasses import dataclass

from proxy.app.audit import audit_trail
from proxy.config.settings import Settings
from proxy.telemetry.audit import AuditEvent, AuditKind
from proxy.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Change:
    """What a command changes."""

    operation: str
    subject: str
    reference: str | None = None

    @property
    def event(self) -> AuditEvent:
        """Return the event of the change that was made by who runs this program."""
        return AuditEvent(
            AuditKind.CHANGE,
            f"cli:{self.operation}",
            principal=f"local:{_user()}",
            scheme="local",
            subject=self.subject,
            reference=self.reference,
        )


def tell_audit(settings: Settings, change: Change) -> None:
    """Tell the audit trail of a change that was made beside the store."""
    trail = audit_trail(settings, Metrics())
    try:
        asyncio.run(trail.record(change.event))
    finally:
        trail.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return str(os.getuid())
