"""What the memory store promises beyond the port: room that ends."""

import pytest

from proxy.core.ports import StorageFullError
from proxy.model.digest import Digest
from proxy.storage.blobs import MemoryBlobStore


async def test_bytes_beyond_the_capacity_are_refused_and_given_back() -> None:
    store = MemoryBlobStore(capacity=10)
    async with store.writer(Digest.of(b"12345678")) as first, store.writer(Digest.of(b"other")) as second:
        await first.write(b"12345678")
        assert await store.free() == 2
        with pytest.raises(StorageFullError):
            await second.write(b"other")
        await first.commit()
        assert await store.free() == 2

    await store.delete(Digest.of(b"12345678"))
    assert await store.free() == 10
