"""The catalog of repositories (Docker Registry HTTP API V2, "Listing Repositories")."""

import json

from aiohttp import web

from proxy.http.oci.call import Call


async def get(call: Call) -> web.StreamResponse:
    """Answer with a page of the names of all repositories that are kept here."""
    page = call.page
    found = await call.services.listings.catalog(page.n, page.last)
    fields = {"Content-Type": "application/json"}
    if found.more and found.repositories:
        size = page.n if page.n is not None else len(found.repositories)
        fields["Link"] = call.next_link("_catalog", {"n": str(size), "last": found.repositories[-1]})
    return web.Response(body=json.dumps({"repositories": found.repositories}).encode(), headers=fields)
