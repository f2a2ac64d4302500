"""Secrets read from where the configuration says they are: an environment variable or a file."""

import os
from pathlib import Path

from proxy.model.credentials import SecretSource

_LIMIT = 64 << 10


class SecretUnreadableError(Exception):
    """There is no secret at its place; the message is half a sentence that names the place, never what is there."""


def read_secret(source: SecretSource) -> str:
    """Return the secret that `source` names, read anew, without the line break at its end.

    Raises `SecretUnreadableError`. Reads a file: not for the event loop.
    """
    if source.env is not None:
        secret, place = os.environ.get(source.env, ""), f"environment variable {source.env}"
    else:
        path = source.file or Path()
        secret, place = read_text(path, _LIMIT).rstrip("\r\n"), f"file {path}"
    if not secret:
        raise SecretUnreadableError(f"{place} is empty or not set")
    return secret


def read_text(path: Path, limit: int) -> str:
    """Return the text of a file of at most `limit` bytes, or raise `SecretUnreadableError`."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise SecretUnreadableError(f"file {path} is longer than {limit} bytes")
        return content.decode()
    except OSError as error:
        raise SecretUnreadableError(f"file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretUnreadableError(f"file {path} is not UTF-8 text") from None
