"""The composition root: settings become objects here, and nowhere else."""

from proxy.app.core import Core, StartupError, open_core, validate_rule
from proxy.app.server import Running, run_server, services_of

__all__ = ["Core", "Running", "StartupError", "open_core", "run_server", "services_of", "validate_rule"]
