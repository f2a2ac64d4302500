"""Blobs in files without a name, which can be told what to be: far away, broken, short, or none to send from."""

import os

from proxy.core.ports import BlobFile, BlobReader
from proxy.model.digest import Digest
from proxy.storage.blobs import MemoryBlobStore


class FiledBlobStore(MemoryBlobStore):
    """The `BlobStore` port over a dictionary; each of its readers has a file of its own.

    While `cold`, no byte is ever said to be in memory; `fetched` are the (position, size) that were asked for. `fault`
    is raised where a file is looked at, `fetch_fault` where it is fetched from. Files lack their last `missing` bytes.
    While `unable`, what is given is no file that the kernel sends from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cold = False
        self.fault: OSError | None = None
        self.fetch_fault: OSError | None = None
        self.missing = 0
        self.unable = False
        self.looked: list[int] = []
        self.fetched: list[tuple[int, int]] = []
        self.open_files = 0

    async def open(self, digest: Digest) -> BlobReader | None:
        reader = await super().open(digest)
        if reader is None:
            return None
        return _FiledReader(self, reader, await reader.read(0, reader.size - self.missing))


class _FiledReader:
    def __init__(self, store: FiledBlobStore, reader: BlobReader, content: bytes) -> None:
        self.size = reader.size
        self._store = store
        self._reader = reader
        self._file: int | None = os.eventfd(0) if store.unable else os.memfd_create("blob")
        store.open_files += 1
        if not store.unable:
            os.truncate(self._file, len(content))
            os.pwrite(self._file, content, 0)

    async def read(self, position: int, size: int) -> bytes:
        return await self._reader.read(position, size)

    def file(self) -> BlobFile:
        return self

    def fileno(self) -> int:
        if self._file is None:
            raise ValueError("this reader is closed")
        return self._file

    def at_hand(self, position: int, size: int) -> bool:
        del size
        if self._store.fault is not None:
            raise self._store.fault
        self._store.looked.append(position)
        return not self._store.cold

    async def fetch(self, position: int, size: int) -> None:
        if self._store.fetch_fault is not None:
            raise self._store.fetch_fault
        self._store.fetched.append((position, size))

    def close(self) -> None:
        self._reader.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._store.open_files -= 1
