"""``GET /v2/``: the sign that this is a registry (OCI distribution-spec end-1)."""

from aiohttp import web

from proxy.http.oci.call import Call
from proxy.model.errors import ErrorCode, ProxyError


async def get(call: Call) -> web.StreamResponse:
    """Answer that the distribution API is spoken here, and below which prefixes."""
    prefix = call.target.prefix
    if prefix and call.services.rules.current.rule(prefix) is None:
        raise ProxyError(ErrorCode.NOT_FOUND, f"no cache rule has the prefix {prefix}")
    return web.Response(body=b"{}", headers={"Content-Type": "application/json"})
