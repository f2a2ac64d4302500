"""Folders whose entries survive power loss."""

import os
from pathlib import Path
from typing import Final

_CLOSED: Final = 0o750


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a file's own fsync does not cover the entry that names it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DurableFolders:
    """Make folders under `root` and remember which of them this process knows to be durable.

    A folder that exists may have been made by another process that has not yet synced its parent: existence alone
    proves nothing, so every process syncs the parent of each folder once.
    """

    def __init__(self, root: Path) -> None:
        """Know of none so far."""
        self._root = root
        self._durable: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make `folder` and what is missing above it, durably. Blocks; callable from several threads."""
        if folder in self._durable and folder.is_dir():
            return
        if folder == self._root:
            # What private upstreams gave is not for every user of the machine.
            folder.mkdir(mode=_CLOSED, parents=True, exist_ok=True)
        else:
            self.make(folder.parent)
            folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
        self._durable.add(folder)

    def move(self, path: Path, target: Path) -> None:
        """Move a file into a folder that is durable, which is made if it is missing. Blocks."""
        if target.parent in self._durable:
            try:
                path.replace(target)
            except FileNotFoundError:
                pass  # the folder was removed under a running server
            else:
                return
        self.make(target.parent)
        path.replace(target)
