"""One answer of an upstream: does it go on from what there is, and where do its bytes belong."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from proxy.core.ports import BlobBody
from proxy.model.errors import UpstreamError, UpstreamFailure

_SMALL = 64 << 10
"""Chunks below this are joined: one write, one hash call and one send for many."""


class DiscontinuityError(UpstreamError):
    """An answer that does not continue the bytes that are there: another entity, length or offset."""

    def __init__(self, message: str) -> None:
        """Keep the sentence; the failure is GARBAGE."""
        super().__init__(UpstreamFailure.GARBAGE, message)


def check_continuation(route: str, body: BlobBody, start: int, total: int | None, validator: str) -> None:
    """Raise `DiscontinuityError` unless `body` continues [0, start) of a blob of `total` bytes.

    `total` None and `validator` "" are not compared. A body from byte 0 answers every request: an upstream may
    ignore Range (RFC 9110 §14.2), and the bytes before `start` are then skipped.
    """
    if total is not None and body.total != total:
        raise DiscontinuityError(f"{route} now gives the blob {body.total} bytes instead of {total}")
    if validator and body.validator and body.validator != validator:
        raise DiscontinuityError(f"{route} now gives another entity for the blob: its entity tag has changed")
    if body.start not in {0, start}:
        raise DiscontinuityError(f"{route} was asked for the blob from byte {start} on and sent it from {body.start}")


async def chunks_from(route: str, body: BlobBody, start: int) -> AsyncIterator[bytes]:
    """Yield the bytes of `body` from `start` on.

    The chunk that completes the blob is yielded only when the body has ended there, so that a body that runs over
    never completes anything. Raises `UpstreamError` where the transfer breaks off, ends early or runs over.
    """
    position = body.start
    last = b""
    async with closing(body.chunks()) as chunks:
        async for data in chunks:
            end = position + len(data)
            if end > body.stop:
                raise DiscontinuityError(f"{route} sent more than the {body.stop - body.start} bytes it had announced")
            chunk = data[max(0, start - position) :]
            position = end
            if not chunk:
                continue
            if end == body.total:
                last = chunk
            else:
                yield chunk
    if position < body.stop:
        raise UpstreamError(
            UpstreamFailure.UNREACHABLE, f"{route} ended the transfer after {position} of {body.stop} bytes"
        )
    if last:
        yield last


@asynccontextmanager
async def closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Close a generator when the block is left, not when it is collected; other iterators have nothing to close."""
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


class Pipe:
    """Bytes between a download and the store, so that both go on at the same time; bounded by `limit` bytes."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._finished = False
        self._error: UpstreamError | None = None
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._end = asyncio.Event()
        self._room.set()

    @property
    def size(self) -> int:
        """Return the bytes that wait."""
        return self._size

    async def receive(self, chunks: AsyncIterator[bytes]) -> None:
        """Take all of `chunks`; their `UpstreamError` is raised by `take`, after the bytes that came before it."""
        try:
            async with closing(chunks) as source:
                async for chunk in source:
                    await self._room.wait()
                    self._chunks.append(chunk)
                    self._size += len(chunk)
                    if self._size >= self._limit:
                        self._room.clear()
                    self._filled.set()
        except UpstreamError as error:
            self._error = error
        self._finished = True
        self._end.set()
        self._filled.set()

    @property
    def finished(self) -> bool:
        """Tell whether all bytes have come."""
        return self._finished and self._error is None

    async def settle(self, seconds: float) -> None:
        """Wait until no more bytes come, or that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    async def take(self, size: int) -> list[bytes]:
        """Return what is there, about `size` bytes at most; wait where there is nothing; nothing at the end."""
        await self._filled.wait()
        if not self._chunks:
            if self._error is not None:
                raise self._error
            return []
        taken: list[bytes] = []
        count = 0
        while self._chunks and count < size:
            taken.append(self._chunks.popleft())
            count += len(taken[-1])
        self._size -= count
        if self._size < self._limit:
            self._room.set()
        if not self._chunks and not self._finished:
            self._filled.clear()
        return joined(taken)


def joined(chunks: Iterable[bytes]) -> list[bytes]:
    """Return the same bytes in the same order, small chunks made into larger ones."""
    larger: list[bytes] = []
    small: list[bytes] = []
    waiting = 0
    for chunk in chunks:
        waiting += len(chunk)
        small.append(chunk)
        if waiting >= _SMALL:
            larger.append(b"".join(small))
            small.clear()
            waiting = 0
    if small:
        larger.append(b"".join(small))
    return larger


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run `works` at the same time until all have ended; the first that fails ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
