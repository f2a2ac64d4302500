"""Referrers of a manifest (OCI distribution-spec end-12)."""

from aiohttp import web

from proxy.http.oci.call import Call
from proxy.model.media_types import OCI_INDEX


async def get(call: Call) -> web.StreamResponse:
    """Answer with an index of the manifests whose subject is the digest."""
    resolution = call.resolve()
    # The filter is optional for a registry: several types are answered unfiltered, and without saying otherwise.
    types = call.request.query.getall("artifactType", [])
    artifact_type = types[0] if len(types) == 1 and types[0] else None
    found = await call.services.listings.referrers(resolution, call.target.digest, artifact_type)
    fields = call.fields(resolution, found.status) | {"Content-Type": OCI_INDEX}
    if found.filtered:
        fields["OCI-Filters-Applied"] = "artifactType"
    return web.Response(body=found.document, headers=fields)
