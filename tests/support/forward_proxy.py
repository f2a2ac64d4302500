"""A forward proxy as companies have them: CONNECT, with a password."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class ForwardProxy:
    """Tunnel every host to one port, and keep the heads of the requests; with another `status`, refuse."""

    target: int
    port: int = 0
    status: bytes = b"200 OK"
    heads: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> set[str]:
        """Return the hosts that tunnels were asked for."""
        return {head.split()[1].rpartition(":")[0] for head in self.heads}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
        await writer.drain()
        if self.status.startswith(b"200"):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        writer.close()


@asynccontextmanager
async def forwarding(target: int) -> AsyncIterator[ForwardProxy]:
    """Run a forward proxy to a port of this machine."""
    proxy = ForwardProxy(target)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
