"""How commands end when they cannot do what was asked: one message on standard error, and an exit code."""

import sys
from typing import NoReturn

import typer

FAILED = 1
REFUSED = 2


def fail(message: str) -> NoReturn:
    """Leave with 1: it could not be done."""
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(FAILED)


def refuse(message: str) -> NoReturn:
    """Leave with 2: configuration, surroundings or command line are wrong, and nothing was started."""
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(REFUSED)
