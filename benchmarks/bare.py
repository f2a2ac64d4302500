"""aiohttp and nothing else: ``python -m benchmarks.bare PORT CONTENT`` answers one repository, ``bench``.

Manifests come from memory, blobs by `FileResponse`: what a server on this framework could reach if it had nothing to
decide.
"""

import sys
from pathlib import Path

import uvloop
from aiohttp import web

from tests.support.images import OCI_MANIFEST


def application(root: Path) -> web.Application:
    """Return the application over the content below `root`."""
    files = root / "v2" / "bench"
    manifests = {file.name: file.read_bytes() for file in (files / "manifests").iterdir()}

    async def manifest(request: web.Request) -> web.Response:
        return web.Response(body=manifests[request.match_info["reference"]], content_type=OCI_MANIFEST)

    async def blob(request: web.Request) -> web.FileResponse:
        return web.FileResponse(files / "blobs" / request.match_info["digest"])

    app = web.Application()
    app.router.add_get("/v2/bench/manifests/{reference}", manifest)
    app.router.add_get("/v2/bench/blobs/{digest}", blob)
    return app


def main() -> None:
    """Serve until a signal comes."""
    port, root = int(sys.argv[1]), Path(sys.argv[2])
    web.run_app(
        application(root),
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=lambda *_: None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
