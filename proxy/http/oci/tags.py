"""Tag lists (OCI distribution-spec end-8)."""

import json

from aiohttp import web

from proxy.http.oci.call import Call


async def get(call: Call) -> web.StreamResponse:
    """Answer with a page of the repository's tags, and a Link to the next one where there is one."""
    resolution, page = await call.resolve(), call.page
    found = await call.services.listings.tags(resolution, page.n, page.last)
    fields = call.fields(resolution, found.status) | {"Content-Type": "application/json"}
    # OCI distribution-spec, "Listing Tags": no Link where n is 0.
    if found.more and found.tags:
        size = page.n if page.n is not None else len(found.tags)
        fields["Link"] = call.next_link(f"{call.target.name}/tags/list", {"n": str(size), "last": found.tags[-1]})
    # The name is the client's own: the same list has several names in the layouts of a mirror.
    return web.Response(body=json.dumps({"name": call.target.name, "tags": found.tags}).encode(), headers=fields)
