"""Partial stores: files that processes share, and memory for tests."""

from proxy.storage.partials.filesystem import FilesystemPartialStore
from proxy.storage.partials.memory import MemoryPartialStore

__all__ = ["FilesystemPartialStore", "MemoryPartialStore"]
