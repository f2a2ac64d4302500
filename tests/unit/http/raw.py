"""A client that sends exactly the bytes it is given: HTTP libraries normalise paths and hide short bodies."""

import asyncio
from dataclasses import dataclass

from multidict import CIMultiDict


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def complete(self) -> bool:
        return len(self.body) == int(self.headers["Content-Length"])


async def exchange(address: tuple[str, int], head: str, *, host: str = "localhost", fields: str = "") -> RawAnswer:
    """Send one request with `head` as its request line, without HTTP version, and read until the connection closes."""
    reader, writer = await asyncio.open_connection(*address)
    request = f"{head} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"
    writer.write(request.encode("utf-8", "surrogateescape"))
    received = bytearray()
    try:
        while data := await reader.read(1 << 16):
            received += data
    except ConnectionResetError:
        pass
    writer.close()
    return parse(bytes(received))


def parse(received: bytes) -> RawAnswer:
    top, _, body = received.partition(b"\r\n\r\n")
    line, *rest = top.decode("latin-1").split("\r\n")
    headers = CIMultiDict[str]()
    for field in rest:
        name, _, value = field.partition(":")
        headers.add(name, value.strip())
    return RawAnswer(int(line.split(" ")[1]), headers, body)
