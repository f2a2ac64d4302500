"""The files of users and access keys, as they are read at the start, by checks and by commands."""

from pathlib import Path
from typing import Final, TypeVar

from proxy.config.files import unreadable
from proxy.model.line_grammar import LineGrammar, UnfitLineError

T = TypeVar("T")

# Room for some 60 000 users.
_LIMIT: Final = 4 << 20


class IdentityFileError(ValueError):
    """A file that cannot be used; the message is one sentence with its path, and never holds a secret."""


def read_content(path: Path) -> bytes:
    """Return what is in the file now, or raise `IdentityFileError`. Not for the event loop."""
    try:
        if (trouble := unreadable(path)) is not None:
            raise IdentityFileError(trouble)
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except OSError as error:
        raise IdentityFileError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LIMIT:
        raise IdentityFileError(f"{path} is longer than {_LIMIT} bytes")
    return content


def parse_content(path: Path, content: bytes, grammar: LineGrammar[T]) -> dict[str, T]:
    """Return the entries in the content of a file, by key, or raise `IdentityFileError`."""
    try:
        return grammar.parse(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IdentityFileError(f"{path}:{line}: this line is not UTF-8 text") from None
    except UnfitLineError as error:
        raise IdentityFileError(f"{path}:{error.line}: {error}") from None


def read_entries(path: Path, grammar: LineGrammar[T]) -> dict[str, T]:
    """Return the entries of a file as it is now, by key, or raise `IdentityFileError`. Not for the event loop."""
    return parse_content(path, read_content(path), grammar)
