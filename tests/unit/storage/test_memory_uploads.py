"""What the memory store shows of a full device."""

from uuid import uuid4

import pytest

from proxy.core.ports import StorageFullError
from proxy.core.upload_ports import UploadRecord
from proxy.model.digest import Digest
from proxy.model.principal import ANONYMOUS
from proxy.model.reference import RepositoryName
from proxy.storage.blobs import MemoryBlobStore
from proxy.storage.uploads import MemoryUploadStore


async def test_uploads_and_blobs_share_the_room() -> None:
    blobs = MemoryBlobStore(capacity=10)
    uploads = MemoryUploadStore(blobs)
    async with blobs.writer(Digest.of(b"1234")) as writer:
        await writer.write(b"1234")
        await writer.commit()
    first, second = (UploadRecord(str(uuid4()), RepositoryName("app"), ANONYMOUS, "sha256") for _ in range(2))
    for record in (first, second):
        await uploads.begin(record)
    async with uploads.open(first.id) as one, uploads.open(second.id) as two:
        await one.append(b"123")
        with pytest.raises(StorageFullError):
            await two.append(b"1234")
        assert (two.size, await uploads.find(second.id)) == (0, (second, 0))
        await two.append(b"123")
    await uploads.remove(first.id)
    async with uploads.open(second.id) as two:
        await two.append(b"456")
        await two.commit(Digest.of(b"123456"))
    assert await blobs.free() == 0
