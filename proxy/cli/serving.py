"""The command that runs the server."""

from pathlib import Path

from rich.console import Console

from proxy.app.core import StartupError
from proxy.app.descriptors import allow_descriptors
from proxy.app.server import Running, run_server
from proxy.cli.configured import load
from proxy.cli.exits import refuse
from proxy.cli.greeting import show_greeting


def serve(config: Path | None) -> int:
    """Run the server; return the exit code."""
    path, settings = load(config)
    allow_descriptors(settings.server.limits.connections)
    run = run_server
    if settings.server.workers > 1:
        from proxy.app.workers import run_workers  # noqa: PLC0415 - gunicorn: one process needs no supervisor

        run = run_workers
    try:
        return run(settings, path, greet=_greet)
    except StartupError as error:
        refuse(str(error))


def _greet(running: Running) -> None:
    show_greeting(Console(), running.addresses, running.settings, running.rules)
