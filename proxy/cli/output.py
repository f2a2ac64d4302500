"""How answers look on standard output: a column of keys for people, one JSON object for programs."""

from collections.abc import Mapping

import msgspec
import typer

_WORDS = {None: "-", True: "yes", False: "no"}


def show(answer: Mapping[str, object], *, json: bool) -> None:
    """Print an answer."""
    if json:
        typer.echo(msgspec.json.encode(answer).decode())
        return
    width = max(map(len, answer))
    for key, value in answer.items():
        word = _WORDS[value] if value is None or isinstance(value, bool) else value
        typer.echo(f"{key.replace('_', ' ').ljust(width)}  {word}")
