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

    `requests` has (digest, first byte) of each request, `sent` counts bytes.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    tap: int | None = None
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
        """Let bytes before `tap` pass (None: all)."""
        self.tap = tap
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        blob = self.blobs[digest]
        start = request.http_range.start or 0
        self.requests.append((digest, start))
        headers = {"ETag": f'"{digest[:20]}"', "Content-Length": str(len(blob) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(blob) - 1}/{len(blob)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        position = start
        while position < len(blob):
            limit = len(blob) if self.tap is None else min(self.tap, len(blob))
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
