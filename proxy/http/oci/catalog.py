"""The catalog of repositories (Docker Registry HTTP API V2, "Listing Repositories")."""

import json
from functools import partial

from aiohttp import web

from proxy.core.access.authorizer import Wanted
from proxy.http.oci.call import Call
from proxy.model.access import Action

_EVERYTHING = Wanted(Action.PULL, "ecr:DescribeRepositories")


async def get(call: Call) -> web.StreamResponse:
    """Answer with a page of the names of the repositories that are kept here and that the caller may pull."""
    page, authorizer = call.page, call.services.authorizer
    visible, spans = partial(authorizer.visible, call.caller), await authorizer.spans(call.caller)
    found = await call.services.listings.catalog(page.n, page.last, visible, spans)
    if not found.repositories and call.caller.anonymous:
        # Other credentials could show more; that there is nothing at all is said in the same way.
        await authorizer.require(call.caller, _EVERYTHING)
    fields = {"Content-Type": "application/json"}
    if found.more and found.repositories:
        size = page.n if page.n is not None else len(found.repositories)
        fields["Link"] = call.next_link("_catalog", {"n": str(size), "last": found.repositories[-1]})
    return web.Response(body=json.dumps({"repositories": found.repositories}).encode(), headers=fields)
