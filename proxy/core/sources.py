"""What a blob is served from, and where its bytes come from."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from proxy.core.ports import BlobBody, BlobFile
from proxy.model.cache_status import CacheStatus


class BlobSource(Protocol):
    """A blob that one client may read: stored, being filled, or passed through.

    `total` is the size of the blob in bytes, known before the first byte. Whoever got the source closes it.
    """

    total: int
    status: CacheStatus

    def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes [start, stop) in order, at the reader's own speed.

        The last byte of the blob is yielded only after the digest of the whole blob was found right. Raises
        `TransferError` where that cannot be done: the connection must then be closed short of its Content-Length.
        """

    def at_rest(self) -> bytes | BlobFile | None:
        """Return the whole blob where it lies verified: its bytes, or its file; None where it can only be streamed."""

    def close(self) -> None:
        """Leave the blob; idempotent. A fill goes on without its readers."""


class TransferError(Exception):
    """A blob cannot be delivered to its end: the message is for the log, the client sees its connection close."""


class BlobRoute(Protocol):
    """One way of getting the bytes of a blob from upstream: a rule and a repository with its own credentials."""

    @property
    def name(self) -> str:
        """Name the route: rule and upstream repository. Routes of one name are one route."""

    @property
    def rule(self) -> str:
        """Return the prefix of the rule, the label of its metrics."""

    @property
    def parallel(self) -> int:
        """Return how many connections one large blob may be fetched by."""

    def open(self, start: int, validator: str, stop: int | None = None) -> AbstractAsyncContextManager[BlobBody]:
        """Open the bytes [`start`, `stop`) of the blob, as `Upstream.open_blob` does."""
