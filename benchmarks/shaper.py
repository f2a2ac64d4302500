"""A link to a far upstream: ``python -m benchmarks.shaper PORT UPSTREAM RTT RATE`` relays TCP connections.

Each direction of each connection has its own line: bytes leave it half a round trip after they entered, and no faster
than RATE. A connection is usable one round trip after it was accepted, as after a handshake. Slow start and losses are
not played.
"""

import asyncio
import sys
from functools import partial

import uvloop

_CHUNK = 32 << 10
# What is under way on a line: beyond it the sender waits, as with a full window.
_CHUNKS = 64


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, rate: float) -> None:
    """Move the bytes of one direction until its end."""
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)

    async def enter() -> None:
        free = 0.0
        data = b"-"
        while data:
            data = await reader.read(_CHUNK)
            free = max(loop.time(), free) + len(data) / rate
            await line.put((free + delay, data))

    async def leave() -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(enter())
        tasks.create_task(leave())


async def connect(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: int, rtt: float, rate: float
) -> None:
    """Relay one accepted connection until both directions ended or one broke."""
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", upstream)
    await asyncio.sleep(rtt)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay(reader, there_writer, rtt / 2, rate))
            tasks.create_task(relay(there_reader, writer, rtt / 2, rate))
    except* OSError:
        pass  # one side has gone: so does the other
    finally:
        writer.close()
        there_writer.close()


async def serve(port: int, upstream: int, rtt: float, rate: float) -> None:
    """Relay until cancelled."""
    accept = partial(connect, upstream=upstream, rtt=rtt, rate=rate)
    server = await asyncio.start_server(accept, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until a signal comes."""
    port, upstream, rtt, rate = sys.argv[1:]
    uvloop.run(serve(int(port), int(upstream), float(rtt), float(rate)))


if __name__ == "__main__":
    main()
