"""The folders of the store: who may enter them."""

import stat
from pathlib import Path

from proxy.storage.blobs.folders import DurableFolders


def test_a_new_store_is_closed_to_other_users_of_the_machine(tmp_path: Path) -> None:
    root = tmp_path / "above" / "store"

    DurableFolders(root).make(root / "blobs")

    assert not root.stat().st_mode & stat.S_IRWXO


def test_the_rights_of_a_folder_that_was_there_stay(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    DurableFolders(tmp_path).make(tmp_path / "blobs")

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
