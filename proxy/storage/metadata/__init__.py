"""Metadata stores: SQLite, and memory for tests."""

from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.metadata.store import SqlMetadataStore

__all__ = ["MemoryMetadataStore", "SqlMetadataStore"]
