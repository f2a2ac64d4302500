"""The store of the product, opened: content as files, and what is known of it in a database."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.storage.blobs import FilesystemBlobStore
from proxy.storage.layout import Layout
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.partials import FilesystemPartialStore
from proxy.storage.threads import Threads
from proxy.storage.uploads import FilesystemUploadStore

_DISK_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Store:
    """The ports of storage, all on one folder."""

    layout: Layout
    blobs: FilesystemBlobStore
    partials: FilesystemPartialStore
    uploads: FilesystemUploadStore
    metadata: SqlMetadataStore


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Store]:
    """Open the store in a folder, made if absent; several processes may do so at once. Raises `StoreUnusableError`."""
    layout = Layout(folder)
    async with AsyncExitStack() as stack:
        threads, writers = Threads("disk", _DISK_THREADS), Threads("disk-write", _DISK_THREADS)
        stack.callback(threads.close)
        stack.callback(writers.close)
        blobs = FilesystemBlobStore(layout, threads, writers)
        await blobs.prepare()
        metadata = await SqlMetadataStore.open(layout.database)
        stack.push_async_callback(metadata.close)
        partials = FilesystemPartialStore(layout, threads, writers)
        yield Store(layout, blobs, partials, FilesystemUploadStore(layout, writers), metadata)
