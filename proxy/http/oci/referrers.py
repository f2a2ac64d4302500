"""Referrers of a manifest (OCI distribution-spec end-12)."""

from aiohttp import web

from proxy.http.oci.call import Call
from proxy.model.media_types import OCI_INDEX


async def get(call: Call) -> web.StreamResponse:
    """Answer with a page of the index of the manifests whose subject is the digest, and a Link to the next one.

    `n` and `last` are what Links of this registry carry; the distribution-spec leaves them to it.
    """
    resolution, page = await call.resolve(), call.page
    # The filter is optional for a registry: several types are answered unfiltered, and without saying otherwise.
    types = call.request.query.getall("artifactType", [])
    artifact_type = types[0] if len(types) == 1 and types[0] else None
    found = await call.services.listings.referrers(resolution, call.target.digest, artifact_type, page)
    fields = call.fields(resolution, found.status) | {"Content-Type": OCI_INDEX}
    if found.filtered:
        fields["OCI-Filters-Applied"] = "artifactType"
    if found.last is not None:
        query = {} if page.n is None else {"n": str(page.n)}
        if artifact_type is not None:
            query["artifactType"] = artifact_type
        suffix = f"{call.target.name}/referrers/{call.target.digest}"
        fields["Link"] = call.next_link(suffix, query | {"last": str(found.last)})
    return web.Response(body=found.document, headers=fields)
