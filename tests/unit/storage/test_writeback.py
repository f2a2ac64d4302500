"""What grows is handed to its device while it grows; a file system that has no such call does not mind."""

import os
from pathlib import Path

from proxy.storage.writeback import Writeback

MIB = 1 << 20


def test_what_was_written_is_there_as_it_was(tmp_path: Path) -> None:
    file, data = tmp_path / "blob", os.urandom(20 * MIB)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    writeback = Writeback()
    for start in range(0, len(data), MIB):
        os.pwrite(descriptor, data[start : start + MIB], start)
        writeback.reach(descriptor, start + MIB)
    os.fsync(descriptor)
    os.close(descriptor)
    assert file.read_bytes() == data


def test_where_it_cannot_be_done_nothing_happens() -> None:
    reading, writing = os.pipe()
    Writeback().reach(writing, 16 * MIB)  # ESPIPE: a pipe has no ranges
    os.close(reading)
    os.close(writing)
