"""Blob stores: files, and memory for tests."""

from proxy.storage.blobs.filesystem import FilesystemBlobStore
from proxy.storage.blobs.memory import MemoryBlobStore

__all__ = ["FilesystemBlobStore", "MemoryBlobStore"]
