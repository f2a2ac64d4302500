"""An upstream of blobs: plain HTTP with ranges, a journal, and a tap that holds bytes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from proxy.model.digest import Digest


@dataclass
class RangeServer:
    """Serve `blobs` under ``/<digest>``; send no byte of a blob at or behind `tap` until that is raised.

    `held` are bytes that are not sent either, by position, wherever the tap is. `requests` has (digest, first byte) of
    each request, `sent` counts bytes.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    tap: int | None = None
    held: int | None = None
    requests: list[tuple[str, int]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._turned = asyncio.Event()

    def add(self, blob: bytes) -> Digest:
        digest = Digest.of(blob)
        self.blobs[str(digest)] = blob
        return digest

    def turn(self, tap: int | None) -> None:
        """Let bytes before `tap` pass (None: all), and what was held."""
        self.tap, self.held = tap, None
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        blob = self.blobs[digest]
        wanted = request.http_range
        start, stop = wanted.start or 0, min(len(blob), wanted.stop or len(blob))
        self.requests.append((digest, start))
        headers = {"ETag": f'"{digest[:20]}"', "Content-Length": str(stop - start)}
        partial = "Range" in request.headers
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob)}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        await response.prepare(request)
        position = start
        while position < stop:
            limit = stop if self.tap is None else min(self.tap, stop)
            if self.held is not None and position <= self.held:
                limit = min(limit, self.held)
            if position >= limit:
                await self._turned.wait()
                continue
            chunk = blob[position : min(limit, position + (64 << 10))]
            await response.write(chunk)
            position += len(chunk)
            self.sent += len(chunk)
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[RangeServer]:
    server = RangeServer()
    application = web.Application()
    application.router.add_get("/{digest}", server.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
