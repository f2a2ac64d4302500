"""Have the kernel send a file to a client: its bytes never pass through this process (sendfile(2))."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from typing import Final

from proxy.core.ports import BlobFile
from proxy.core.sources import TransferError

SEGMENT: Final = 256 << 10
"""The most that is sent before others have their turn; more at a time brings nothing."""
LEAST: Final = 128 << 10
"""Bytes below which a copy costs less than the calls around it."""

_WINDOW: Final = 1 << 20  # bytes that are looked for in memory, and fetched if they are not there, at a time
_GONE: Final = frozenset({errno.ENOTCONN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN})
# sendfile(2): what a file system answers that has no way to it.
_UNABLE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE})


class ClientLostError(Exception):
    """The connection is broken; the cause is the error of the kernel."""


class CannotSendError(Exception):
    """The kernel cannot send from this file, or there is no descriptor left for it: the bytes are to be copied."""


def sends_files(transport: asyncio.BaseTransport) -> bool:
    """Tell whether the kernel can send files over a connection: not where they have to be enciphered before."""
    return (
        sys.platform == "linux"
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


async def send_file(
    transport: asyncio.WriteTransport, file: BlobFile, start: int, stop: int, count: Callable[[int], None]
) -> None:
    """Send the bytes [start, stop) of `file`; `count` is told in the end how many of them the kernel took.

    Nothing of before may wait in the buffer of `transport`, and nobody else may write to it meanwhile. Raises
    `ClientLostError`, `CannotSendError`, and `TransferError` where the file ends early or cannot be read.
    """
    try:
        # A loop lets nobody else wait for the descriptor of one of its transports.
        connection = os.dup(transport.get_extra_info("socket").fileno())
    except OSError as error:
        raise CannotSendError from error
    try:
        sending = _Sending(connection, file, start, stop)
        try:
            await sending.run()
        finally:
            count(sending.position - start)
    finally:
        os.close(connection)


class _Sending:
    """A file on its way to a connection that does not block."""

    def __init__(self, connection: int, file: BlobFile, start: int, stop: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._file = file
        self._descriptor = file.fileno()
        self.position = start
        """Where the next byte is sent from."""
        self._stop = stop
        # Up to here nothing is looked for: whoever fetched bytes and finds them gone would fetch them for ever.
        self._ready = start
        self._paused: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Send everything."""
        while self.position < self._stop:
            self._paused = self._loop.create_future()
            self._loop.add_writer(self._connection, self._proceed)
            try:
                await self._paused
            finally:
                self._loop.remove_writer(self._connection)
            if self.position < self._stop:
                await self._fetch()

    def _proceed(self) -> None:
        """Send a segment of what is at hand; called in each turn of the loop in which the connection takes more."""
        if self._paused.done():
            return
        try:
            if self.position >= self._ready and not self._is_ready():
                self._paused.set_result(None)
                return
            size = min(SEGMENT, self._ready - self.position)
            sent = os.sendfile(self._connection, self._descriptor, self.position, size)
        except (BlockingIOError, InterruptedError):
            return
        except TransferError as error:
            self._paused.set_exception(error)
            return
        except OSError as error:
            self._fail(error)
            return
        self.position += sent
        if not sent:
            self._paused.set_exception(
                TransferError(f"the stored blob ends at {self.position}, short of {self._stop} bytes")
            )
        elif self.position >= self._stop:
            self._paused.set_result(None)

    def _is_ready(self) -> bool:
        """Look whether the next bytes are in memory."""
        size = min(_WINDOW, self._stop - self.position)
        try:
            found = self._file.at_hand(self.position, size)
        except OSError as error:
            raise self._unreadable(error) from error
        if found:
            self._ready = self.position + size
        return found

    async def _fetch(self) -> None:
        size = min(_WINDOW, self._stop - self.position)
        try:
            await self._file.fetch(self.position, size)
        except OSError as error:
            raise self._unreadable(error) from error
        self._ready = self.position + size

    def _fail(self, error: OSError) -> None:
        told: Exception
        if isinstance(error, ConnectionError | TimeoutError) or error.errno in _GONE:
            told = ClientLostError()
        else:
            told = CannotSendError() if error.errno in _UNABLE else self._unreadable(error)
        told.__cause__ = error
        self._paused.set_exception(told)

    def _unreadable(self, error: OSError) -> TransferError:
        return TransferError(f"the stored blob cannot be read at {self.position}: {error}")
