"""Errors as the distribution API renders them (OCI distribution-spec, "Error Codes")."""

import json

from aiohttp import web

from proxy.model.errors import ProxyError


def render(error: ProxyError) -> web.Response:
    """Return the answer that tells a client of `error`: its public half, nothing of `debug`."""
    problem = {"code": error.code.name, "message": error.message, "detail": error.detail}
    return web.Response(
        status=error.code.status,
        body=json.dumps({"errors": [problem]}).encode(),
        headers={**error.headers, "Content-Type": "application/json"},
    )
