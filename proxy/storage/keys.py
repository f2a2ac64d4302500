"""Keys of the store: files that only this user can read, made once, whatever happens meanwhile."""

import base64
import binascii
import fcntl
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import structlog

from proxy.storage.blobs.folders import DurableFolders, sync_folder
from proxy.storage.errors import StoreUnusableError, unusable
from proxy.storage.layout import Layout

_log = structlog.get_logger(__name__)

KEY_SIZE = 32
_LIMIT = 64 << 10
_OTHERS = 0o077


class KeyUnusableError(Exception):
    """A text holds no keys; the message is half a sentence, and tells nothing of the text."""


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Return the keys in `text`, 32 bytes in base64 a line, or raise `KeyUnusableError`."""
    keys = []
    for line in text.split():
        try:
            key = base64.b64decode(line.translate(_URL_SAFE), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_SIZE:
            raise KeyUnusableError(f"each line must be {KEY_SIZE} bytes in base64: `openssl rand -base64 {KEY_SIZE}`")
        keys.append(key)
    if not keys:
        raise KeyUnusableError(f"there is no key: make one with `openssl rand -base64 {KEY_SIZE}`")
    return tuple(keys)


_URL_SAFE = str.maketrans("-_", "+/")


def load_or_make_keys(layout: Layout, name: str) -> Sequence[bytes]:
    """Return the keys in the store's file ``keys/<name>.key``; where there is none, make it with one random key.

    Of processes that start at the same time one makes it, and all get the same; a file that is there is whole, and
    survives power loss. Raises `StoreUnusableError`. Blocks.
    """
    path = layout.key(name)
    try:
        text = _read(path)
        if text is None:
            text = _make(layout, path)
        # Whoever made it may not have come to this yet, and what is sealed from now on needs the key.
        sync_folder(path.parent)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        return parse_keys(text)
    except KeyUnusableError as error:
        raise StoreUnusableError(
            f"The key in {path} cannot be used ({error}): bring back the file that was there. What was sealed with its "
            "key is lost without it."
        ) from error


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                _log.warning("key.readable_by_others", path=str(path), remedy=f"chmod 600 {path}")
            return file.read(_LIMIT).decode("ascii", "replace")
    except FileNotFoundError:
        return None


def _make(layout: Layout, path: Path) -> str:
    folder = path.parent
    DurableFolders(layout.root).make(folder)
    folder.chmod(0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Dropped with the descriptor, however this ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = _read(path)
        if found is not None:
            return found
        text = base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode() + "\n"
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)  # left by a process that was killed here
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:  # noqa: PTH123 - a path takes no mode
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    finally:
        os.close(descriptor)
    _log.info("key.made", path=str(path))
    return text
