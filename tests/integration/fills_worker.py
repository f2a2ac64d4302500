"""A worker process: fills over files, told by JSON lines on standard input what to read.

Lines in: ``{"id", "digest", "start", "stop", "tell", "parallel", "size"}``; `stop`, `tell` and `size` may be null.
Lines out: ``{"id", "event"}`` with `event` one of ready, opened, reached (the reader has `tell` bytes), done (with
the SHA-256) and failed.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import ByteSize

from proxy.config.settings import FillSettings, UpstreamSettings
from proxy.core.fills import Fills
from proxy.core.sources import TransferError
from proxy.core.tasks import Tasks
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError, UpstreamError, UpstreamFailure
from proxy.storage.blobs import FilesystemBlobStore
from proxy.storage.layout import Layout
from proxy.storage.partials import FilesystemPartialStore
from proxy.storage.threads import Threads
from proxy.telemetry.metrics import Metrics


class SystemClock:
    """The `Clock` port over the loop's own clock."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class HttpBody:
    """The `BlobBody` of one response."""

    response: aiohttp.ClientResponse
    start: int
    stop: int
    total: int
    validator: str

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.response.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise UpstreamError(UpstreamFailure.UNREACHABLE, f"the transfer broke off: {error}") from error


@dataclass(frozen=True)
class HttpRoute:
    """The `BlobRoute` port over a plain HTTP server."""

    session: aiohttp.ClientSession
    url: str
    parallel: int
    name: str = "test blobs"
    rule: str = "test"

    @asynccontextmanager
    async def open(self, start: int, validator: str, stop: int | None = None) -> AsyncIterator[HttpBody]:
        headers = {"If-Range": validator} if validator else {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            async with self.session.get(self.url, headers=headers) as response:
                first = start if response.status == 206 else 0
                end = first + (response.content_length or 0)
                total = int(response.headers.get("Content-Range", f"/{end}").rpartition("/")[2])
                yield HttpBody(response, first, end, total, response.headers["ETag"])
        except aiohttp.ClientConnectionError as error:
            raise UpstreamError(UpstreamFailure.UNREACHABLE, f"the server cannot be reached: {error}") from error


def say(number: int, event: str, **more: object) -> None:
    sys.stdout.write(json.dumps({"id": number, "event": event, **more}) + "\n")
    sys.stdout.flush()


async def read(fills: Fills, session: aiohttp.ClientSession, url: str, order: Mapping[str, Any]) -> None:
    number, tell = order["id"], order["tell"]
    route = HttpRoute(session, f"{url}/{order['digest']}", order["parallel"])
    try:
        source = await fills.open(Digest.parse(order["digest"]), route, size=order["size"])
    except (UpstreamError, ProxyError) as error:
        say(number, "failed", reason=str(error))
        return
    say(number, "opened", total=source.total, outcome=source.status.outcome)
    hasher, size = hashlib.sha256(), 0
    try:
        async for data in source.stream(order["start"], source.total if order["stop"] is None else order["stop"]):
            hasher.update(data)
            size += len(data)
            if tell is not None and size >= tell:
                say(number, "reached", size=size)
                tell = None
        say(number, "done", sha256=hasher.hexdigest(), size=size)
    except TransferError as error:
        say(number, "failed", reason=str(error), size=size)
    finally:
        source.close()


async def work(root: Path, url: str, patience: float) -> None:
    layout, threads, metrics = Layout(root), Threads("files", 8), Metrics()
    blobs = FilesystemBlobStore(layout, threads)
    await blobs.prepare()
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session, Tasks() as tasks:
        fills = Fills(
            FilesystemPartialStore(layout, threads),
            blobs,
            tasks,
            SystemClock(),
            FillSettings(poll=timedelta(milliseconds=2), retry_delay=timedelta(0), piece=ByteSize(1 << 20)),
            UpstreamSettings(stall_timeout=timedelta(seconds=patience), budget=timedelta(seconds=patience)),
            0,
            metrics,
        )
        say(0, "ready")
        async with asyncio.TaskGroup() as clients:
            while line := await reader.readline():
                clients.create_task(read(fills, session, url, json.loads(line)))
    threads.close()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
