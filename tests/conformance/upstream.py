"""An upstream registry of the older kind: it holds what another one holds, and knows no referrers API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

_HOP = frozenset({"transfer-encoding", "connection", "keep-alive", "date", "server", "content-length"})


@asynccontextmanager
async def without_referrers(session: aiohttp.ClientSession, base: str) -> AsyncIterator[str]:
    """Serve the registry at `base` without its referrers API; yield the URL."""

    async def forward(request: web.Request) -> web.Response:
        if "/referrers/" in request.path:
            return web.Response(status=404, text="404 page not found")
        url = URL(f"{base}{request.raw_path}", encoded=True)
        wanted = {name: request.headers[name] for name in ("Accept", "Range") if name in request.headers}
        async with session.request(request.method, url, headers=wanted, allow_redirects=False) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
            body = await answer.read()
            if request.method == "HEAD":
                kept.append(("Content-Length", answer.headers["Content-Length"]))
            return web.Response(status=answer.status, body=body, headers=kept)

    app = web.Application()
    app.router.add_get("/{path:.*}", forward)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()
