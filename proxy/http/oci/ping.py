"""``GET /v2/``: the sign that this is a registry (OCI distribution-spec end-1)."""

from aiohttp import web

from proxy.http.oci.call import Call
from proxy.model.errors import ErrorCode, ProxyError


async def get(call: Call) -> web.StreamResponse:
    """Answer that the distribution API is spoken here, and below which prefixes.

    Where callers are asked who they are, this is where clients look for the question: who shows nothing is refused,
    also where anonymous callers may pull, and nobody is told which prefixes there are.
    """
    authentication, prefix = call.services.authentication, call.target.prefix
    if authentication is not None:
        # A token is shown even by anonymous clients: they were asked, and this is what they were given.
        if call.caller.anonymous and not call.caller.token:
            raise ProxyError(ErrorCode.UNAUTHORIZED)
        # ECR's has neither content nor a type of it.
        return _here() if authentication.gives_tokens else web.Response()
    if prefix and call.services.rules.current.rule(prefix) is None:
        raise ProxyError(ErrorCode.NOT_FOUND, f"no cache rule has the prefix {prefix}")
    return _here()


def _here() -> web.Response:
    return web.Response(body=b"{}", headers={"Content-Type": "application/json"})
