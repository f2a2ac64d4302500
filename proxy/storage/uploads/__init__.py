"""Upload stores: files that processes share, and memory for tests."""

from proxy.storage.uploads.filesystem import FilesystemUploadStore
from proxy.storage.uploads.memory import MemoryUploadStore

__all__ = ["FilesystemUploadStore", "MemoryUploadStore"]
