"""How answers look on standard output: columns for people, JSON for programs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WORDS = {None: "-", True: "yes", False: "no"}

_NARROWEST = 200
"""Columns for a table that no person looks at: nothing of it may be cut."""

_STEP = 1024


def show_json(answer: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Print an answer, or several, as one line of JSON."""
    typer.echo(msgspec.json.encode(answer).decode())


def show(answer: Mapping[str, object], *, json: bool) -> None:
    """Print an answer."""
    if json:
        show_json(answer)
        return
    width = max(map(len, answer))
    for key, value in answer.items():
        word = _WORDS[value] if value is None or isinstance(value, bool) else value
        typer.echo(f"{key.replace('_', ' ').ljust(width)}  {word}")


def show_known(answer: Mapping[str, object], *, json: bool) -> None:
    """Print an answer, to people without what it does not have."""
    known = {name: value for name, value in answer.items() if value is not None and value != ""}
    show(answer if json else known, json=json)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, otherwise: str) -> None:
    """Print a table for people, or without rows the sentence `otherwise`."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _NARROWEST)
    console.print(table if rows else Text(otherwise))


def moment(seconds: float | None) -> str | None:
    """Return a time in seconds since the epoch as programs and people read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds is not None else None


def about(size: float) -> str:
    """Return a number of bytes as people talk of it."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < _STEP:
            break
        size, unit = size / _STEP, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
