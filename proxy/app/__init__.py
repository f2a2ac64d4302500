"""The composition root: settings become objects here, and nowhere else."""

from proxy.app.access import Access, open_access
from proxy.app.core import Core, StartupError, audit_trail, open_core, validate_rule
from proxy.app.server import Running, run_server, services_of
from proxy.app.workers import run_workers

__all__ = [
    "Access",
    "Core",
    "Running",
    "StartupError",
    "audit_trail",
    "open_access",
    "open_core",
    "run_server",
    "run_workers",
    "services_of",
    "validate_rule",
]
