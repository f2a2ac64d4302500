"""Requests that a browser makes for a page of another origin."""

from typing import Final

from aiohttp import hdrs, web
from multidict import istr

from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError

_SITE: Final = istr("Sec-Fetch-Site")
_USER: Final = istr("Sec-Fetch-User")
# Other ports of a host are the same site: any other service of a person's machine.
_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
_SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


def refuse_other_pages(request: web.Request) -> None:
    """Raise `ProxyError` DENIED where a page of another origin has a browser ask (Fetch Metadata, `Sec-Fetch-Site`).

    A page that may not read the answer could still have blobs pushed, and images fetched, with what the browser adds
    by itself: client certificates, passwords that it remembers, or that it runs on this machine. What a person
    follows a link for is answered.
    """
    site = request.headers.get(_SITE)
    if site is None or site not in _ELSEWHERE:
        return
    if request.method in _SAFE and request.headers.get(_USER) == "?1":
        return
    request[TRACE].refused = True
    raise ProxyError(ErrorCode.DENIED, "a page of another origin asked for this, in a browser: that is not answered")
