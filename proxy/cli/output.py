"""How answers look on standard output: a column of keys for people, one JSON object for programs."""

from collections.abc import Mapping, Sequence

import msgspec
import typer

_WORDS = {None: "-", True: "yes", False: "no"}


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
