"""The audit trail, which commands without a store tell of what they do, too."""

from proxy.config.auth import AuthSettings
from proxy.config.settings import Settings
from proxy.storage.layout import Layout
from proxy.telemetry.audit import AuditFile, NoAudit
from proxy.telemetry.metrics import Metrics


def audit_trail(settings: Settings, metrics: Metrics) -> AuditFile | NoAudit:
    """Return where these settings have audit events written; nothing is opened yet, and the caller closes it."""
    layout = Layout(settings.storage.path)
    path = settings.audit.path or (layout.audit if isinstance(settings.auth, AuthSettings) else None)
    if path is None:
        return NoAudit()
    return AuditFile(path, metrics, max_size=settings.audit.max_size, keep=settings.audit.keep)
