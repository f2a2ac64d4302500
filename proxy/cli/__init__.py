"""The command line: ``pullthrough``."""

from proxy.cli.commands import main

__all__ = ["main"]
