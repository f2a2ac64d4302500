"""Whether a request claims to be signed: what is asked before the AWS APIs are loaded, and by them."""

from aiohttp import hdrs, web


def is_presigned(request: web.Request) -> bool:
    """Tell whether a request claims to be signed in its query."""
    return "X-Amz-Signature" in request.rel_url.raw_query_string


def is_signed(request: web.Request) -> bool:
    """Tell whether a request claims to be signed."""
    return is_presigned(request) or request.headers.get(hdrs.AUTHORIZATION, "").startswith("AWS4-")
