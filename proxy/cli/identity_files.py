"""The files of users and access keys, as commands change them: whole, and nothing but the line that is meant."""

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from proxy.cli.configured import load
from proxy.cli.exits import fail, refuse
from proxy.config.auth import AuthSettings
from proxy.config.files import is_missing
from proxy.config.identity_files import IdentityFileError, parse_content, read_content
from proxy.config.settings import Settings
from proxy.model.line_grammar import LineGrammar

T = TypeVar("T")

_MODE = 0o600


def load_auth(config: Path | None) -> tuple[Settings, AuthSettings]:
    """Return the settings, whose files need not be there, or leave where they have no section `auth`."""
    path, settings = load(config, surroundings=False)
    if not isinstance(settings.auth, AuthSettings):
        refuse(
            f"{path} has no section `auth`, so nobody is asked who they are: write one that names the file, as in "
            "`auth: {htpasswd: users, access_keys: keys}`"
        )
    return settings, settings.auth


def named(path: Path | None, key: str) -> Path:
    """Return the file that the setting `key` names, or leave."""
    if path is None:
        refuse(f"{key} is not set: name a file there, which need not be there yet")
    return path


def entries(path: Path, grammar: LineGrammar[T]) -> dict[str, T]:
    """Return what the file holds, nothing where there is none, or leave."""
    try:
        return parse_content(path, b"" if is_missing(path) else read_content(path), grammar)
    except IdentityFileError as error:
        refuse(str(error))


def edit(path: Path, grammar: LineGrammar[T], change: Callable[[dict[str, T]], tuple[str, str | None]]) -> None:
    """Put one line of the file in place, or leave with the file as it was.

    `change` is told what is there, and returns the key of the entry and its line, None to remove it. A new file can be
    read by its owner only; one that is there keeps its owner and its mode. Readers find the old file or the new one,
    whole; commands wait for each other.
    """
    # The file itself, where the name is a link.
    path = path.resolve()
    try:
        with _alone(path.parent):
            found = entries(path, grammar)
            text = read_content(path).decode() if path.exists() else ""
            _replace(path, grammar.put(text, *change(found)))
    except OSError as error:
        fail(f"{path} cannot be changed, and is as it was: {error.strerror}")


def discard(path: Path, grammar: LineGrammar[T], key: str, *, absent: str) -> None:
    """Remove the entry `key` from the file, or leave with the message `absent` where there is none."""

    def change(found: dict[str, T]) -> tuple[str, None]:
        if key not in found:
            fail(absent)
        return key, None

    edit(path, grammar, change)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    kept = path.stat() if path.exists() else None
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a path takes no mode
            if kept is not None:
                made = os.fstat(descriptor)
                if (kept.st_uid, kept.st_gid) != (made.st_uid, made.st_gid):
                    os.fchown(descriptor, kept.st_uid, kept.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(kept.st_mode))
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()
