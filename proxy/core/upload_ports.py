"""The port of what clients push, while it is on its way.

Every implementation passes the contract suite in ``tests/contract``. See also `ports`, whose `StorageFullError` and
`DigestMismatchError` are raised here.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from proxy.model.digest import Digest
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload as it was begun: `id` is a random UUID in its usual spelling, `principal` is who began it.

    `algorithm` is that of the digest which the client is expected to name in the end.
    """

    id: str
    repository: RepositoryName
    principal: Principal
    algorithm: str


class UploadUnknownError(Exception):
    """There is no such upload: it never began, was finished or cancelled, or expired."""


class UploadBusyError(Exception):
    """Another request, of this process or of another, is writing to the upload."""


class OpenUpload(Protocol):
    """An upload that one request writes to. `size` counts the bytes so far; they outlive the request."""

    record: UploadRecord
    size: int

    async def append(self, data: bytes) -> None:
        """Write `data` at the end."""

    async def truncate(self, size: int) -> None:
        """Drop all bytes from `size` on."""

    async def commit(self, expected: Digest) -> None:
        """Verify the digest and make the bytes a durable, readable blob; the upload is over either way.

        Raises `DigestMismatchError`. The digest's algorithm may be another than that of the record.
        """


class UploadStore(Protocol):
    """Content on its way from clients, over any number of requests, processes and restarts.

    Writes raise `StorageFullError` where the device is full or read-only.
    """

    async def begin(self, record: UploadRecord) -> None:
        """Begin an upload with no bytes."""

    async def find(self, upload: str) -> tuple[UploadRecord, int] | None:
        """Return an upload and how many bytes it has, also while another request writes to it; or None."""

    def open(self, upload: str) -> AbstractAsyncContextManager[OpenUpload]:
        """Take the upload for one request; leaving keeps its bytes for the next.

        Raises `UploadUnknownError`, or `UploadBusyError`.
        """

    async def remove(self, upload: str) -> bool:
        """End the upload and drop its bytes; tell whether it was there. A request that writes to it fails."""

    async def expire(self, idle: float) -> list[UploadRecord]:
        """Remove the uploads that nobody writes to and that got their last byte over `idle` seconds ago."""
