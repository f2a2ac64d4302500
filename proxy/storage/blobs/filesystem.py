"""Blobs as files, one per digest, under their final name only once they are complete and verified."""

import asyncio
import errno
import os
import stat as file_modes
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from proxy.core.ports import BlobFile, BlobReader, BlobWriter
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError
from proxy.storage.blobs.folders import DurableFolders, sync_folder
from proxy.storage.blobs.upload import Upload, create_upload, sweep_uploads
from proxy.storage.errors import StoreUnusableError, unusable, writing
from proxy.storage.layout import Layout
from proxy.storage.page_cache import LONGEST, PageCache, load
from proxy.storage.threads import Threads

SEGMENT: Final = LONGEST
"""The most that one read returns: larger segments cost memory for every reader and gain nothing."""

_log = structlog.get_logger(__name__)


class FilesystemBlobStore:
    """The `BlobStore` port on one local file system. Call `prepare` once before anything else.

    Several processes may share the folder. `threads` stay the caller's, who closes them after the last use. Blobs are
    written in `writers`, if there are any: a device may be slow to take what is written, and readers need not wait.
    """

    def __init__(self, layout: Layout, threads: Threads, writers: Threads | None = None) -> None:
        """Touch nothing yet."""
        self._writers = writers or threads
        self._layout = layout
        self._threads = threads
        self._folders = DurableFolders(layout.root)
        self._page_cache = PageCache()

    async def prepare(self) -> None:
        """Make the folders, try them out, and remove what writers that have died left behind.

        Raises `StoreUnusableError` where the folder cannot be written or is not one file system.
        """
        removed = await self._threads.run(self._prepare)
        if removed:
            _log.info("uploads.swept", path=str(self._layout.uploads), files=removed)

    async def stat(self, digest: Digest) -> int | None:
        """Return the size of a stored blob, or None."""
        return await self._threads.run(_size, self._layout.blob(digest))

    async def open(self, digest: Digest) -> BlobReader | None:
        """Open a stored blob, or return None. The caller closes the reader."""
        return await self._threads.run(self._open, self._layout.blob(digest))

    @asynccontextmanager
    async def writer(self, expected: Digest) -> AsyncIterator[BlobWriter]:
        """Begin a blob; leaving without `commit` leaves no trace, also when the leaving task was cancelled."""
        writer = _FileWriter(Upload(self._layout, self._folders, expected), self._writers)
        try:
            yield writer
        finally:
            await writer.end()

    async def delete(self, digest: Digest) -> bool:
        """Remove a blob, durably; tell whether it was there. Open readers go on."""
        return await self._writers.run(self._delete, self._layout.blob(digest))

    async def scan(self) -> AsyncIterator[tuple[Digest, int]]:
        """Yield (digest, size) of every stored blob; files with other names are not ours and are passed over.

        One shard folder is read at a time: memory stays small however large the store is. Blobs that come or go
        meanwhile may be seen or not.
        """
        for algorithm in await self._threads.run(_folders_in, self._layout.blobs):
            for shard in await self._threads.run(_folders_in, algorithm):
                for found in await self._threads.run(_blobs_in, shard):
                    yield found

    async def free(self) -> int:
        """Return the bytes that this user can still write to the file system."""
        return await self._threads.run(_free, self._layout.root)

    def _prepare(self) -> int:
        layout = self._layout
        try:
            for folder in (layout.root, layout.blobs, layout.uploads):
                self._folders.make(folder)
            _try_out(layout)
            self._page_cache.look(layout.blobs)
            return sweep_uploads(layout)
        except OSError as error:
            raise unusable(layout.root, error) from error

    def _open(self, path: Path) -> BlobReader | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        return _FileReader(descriptor, path, self._threads, self._page_cache)

    def _delete(self, path: Path) -> bool:
        with writing(path.parent):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            sync_folder(path.parent)
        return True


class _FileReader:
    """The `BlobReader` and `BlobFile` ports over one descriptor of its own."""

    def __init__(self, descriptor: int, path: Path, threads: Threads, page_cache: PageCache) -> None:
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._path = path
        self._threads = threads
        self._page_cache = page_cache
        # A caller that is cancelled while a thread opens the blob never gets the reader, and cannot close it:
        # then this does, when the reader is collected.
        self._close = weakref.finalize(self, os.close, descriptor)

    async def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes, and no more than SEGMENT, from `position`; empty only at or past the end."""
        descriptor = self.fileno()
        size = min(size, self.size - position, SEGMENT)
        if size <= 0:
            return b""
        data = self._page_cache.read(descriptor, position, size)
        if not data:
            # Were the reader closed while a cancelled call of this kind is still queued, its descriptor might
            # already be another file's: harmless, since nobody receives what a cancelled call reads.
            data = await self._threads.run(os.pread, descriptor, size, position)
        if not data:
            raise OSError(errno.EIO, "the blob is shorter than it was when it was opened", str(self._path))
        return data

    def file(self) -> BlobFile | None:
        """Return this, if the file system tells what is in memory."""
        return self if self._page_cache.tells else None

    def fileno(self) -> int:
        """Return the descriptor, which stays the reader's."""
        if not self._close.alive:
            raise ValueError("this reader is closed")
        return self._descriptor

    def at_hand(self, position: int, size: int) -> bool:
        """Tell whether the page cache has these bytes."""
        return self._page_cache.has(self.fileno(), position, min(size, self.size - position))

    async def fetch(self, position: int, size: int) -> None:
        """Have a thread read these bytes, as far as there are any, into the page cache."""
        await self._threads.run(load, self.fileno(), position, min(size, self.size - position))

    def close(self) -> None:
        """Release the descriptor; idempotent."""
        self._close()


class _FileWriter:
    """The `BlobWriter` port over an upload: one hop to a thread a call, and one in all for a small blob."""

    def __init__(self, upload: Upload, threads: Threads) -> None:
        self._upload = upload
        self._threads = threads
        self._held = b""
        self._holds = True
        self._begun = False

    async def write(self, data: bytes) -> None:
        """Append `data`, or hold it until there is more."""
        if self._holds and len(self._held) + len(data) <= SEGMENT:
            self._held += data
            return
        held, self._held, self._holds = self._held, b"", False
        await self._run(held + data if held else data, commit=False)

    async def commit(self) -> None:
        """Verify the digest and make the blob durable and readable."""
        held, self._held, self._holds = self._held, b"", False
        await self._run(held, commit=True)

    async def end(self) -> None:
        """Remove what was not committed."""
        self._held, self._holds = b"", False
        if self._begun:
            # Shielded: were it cancelled while it waits for a thread, the file would stay until the next start.
            await asyncio.shield(self._threads.run(self._upload.discard))
        else:
            self._upload.discard()  # there is no file yet, and will be none

    async def _run(self, data: bytes, *, commit: bool) -> None:
        self._begun = True
        await self._threads.run(self._take, data, commit)
        self._begun = not commit

    def _take(self, data: bytes, commit: bool) -> None:  # noqa: FBT001 - by position to a thread
        if data:
            self._upload.append(data)
        if commit:
            self._upload.commit()


def _try_out(layout: Layout) -> None:
    """Do once what every commit does: make a file, lock it, and move it to the blobs."""
    descriptor, path = create_upload(layout)
    try:
        path = path.replace(layout.blobs / path.name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise StoreUnusableError(
            f"The folders {layout.uploads} and {layout.blobs} are on different file systems: "
            f"mount one file system at {layout.root} instead, blobs are moved between them."
        ) from error
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _free(root: Path) -> int:
    usage = os.statvfs(root)
    return usage.f_bavail * usage.f_frsize


def _size(path: Path) -> int | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_size if file_modes.S_ISREG(found.st_mode) else None


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _blobs_in(shard: Path) -> list[tuple[Digest, int]]:
    found: list[tuple[Digest, int]] = []
    algorithm = shard.parent.name
    try:
        with os.scandir(shard) as entries:
            for entry in entries:
                size = _size(Path(entry.path))
                digest = _parse(algorithm, shard.name, entry.name)
                if digest is not None and size is not None:
                    found.append((digest, size))
    except FileNotFoundError:
        return found
    return found


def _parse(algorithm: str, shard: str, name: str) -> Digest | None:
    if not name.startswith(shard):
        return None
    try:
        return Digest.parse(f"{algorithm}:{name}")
    except ProxyError:
        return None
