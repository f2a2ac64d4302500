"""A load client that costs little: it writes the same request again and again and throws the bodies away."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

_BUFFER = 1 << 20
_END_OF_HEADERS = b"\r\n\r\n"
# docker-registry answers 404 to those that do not name the type of a manifest.
_ACCEPT = "application/vnd.oci.image.manifest.v1+json, */*"


@dataclass(frozen=True)
class Measured:
    """What a load achieved: answers and bytes of bodies, in `seconds`."""

    answers: int
    bytes: int
    seconds: float

    @property
    def requests_per_second(self) -> float:
        """Return answers a second."""
        return self.answers / self.seconds

    @property
    def gigabytes_per_second(self) -> float:
        """Return 10^9 bytes of bodies a second."""
        return self.bytes / self.seconds / 1e9


async def load(port: int, path: str, *, clients: int, seconds: float = 0) -> Measured:
    """Get a path with so many connections at once: each once, or again and again for `seconds`.

    Raises RuntimeError on any answer but a whole 200.
    """
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {_ACCEPT}\r\n\r\n".encode()
    started = time.perf_counter()

    def again() -> bool:
        return time.perf_counter() - started < seconds

    connections = [_Connection(request, again, loop.create_future()) for _ in range(clients)]
    for connection in connections:
        await loop.create_connection(partial(_same, connection), "127.0.0.1", port)
    await asyncio.gather(*(connection.done for connection in connections))
    taken = time.perf_counter() - started
    return Measured(sum(each.answers for each in connections), sum(each.bytes for each in connections), taken)


class _Connection(asyncio.BufferedProtocol):
    """One keep-alive connection; it reads into one buffer for all its life."""

    def __init__(self, request: bytes, again: Callable[[], bool], done: asyncio.Future[None]) -> None:
        self.answers = 0
        self.bytes = 0
        self.done = done
        self._request = request
        self._again = again
        self._buffer = bytearray(_BUFFER)
        self._headers = b""
        self._left = -1  # bytes of the body that are still to come; -1 while headers are
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but their class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def get_buffer(self, sizehint: int) -> bytearray:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left < 0:
            self._headers += self._buffer[:nbytes]
            head, found, rest = self._headers.partition(_END_OF_HEADERS)
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self._fail(f"answered {head.splitlines()[0].decode()}")
                return
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            self._left = int(fields[b"content-length"])
            nbytes = len(rest)
            self._headers = b""
        self.bytes += nbytes
        self._left -= nbytes
        if self._left == 0:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection ended early: {exc}")

    def _answered(self) -> None:
        self.answers += 1
        self._left = -1
        if self._transport is None:
            return
        if self._again():
            self._transport.write(self._request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def _fail(self, what: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(what))


def _same(connection: _Connection) -> _Connection:
    return connection
