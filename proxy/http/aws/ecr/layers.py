"""The operations on layers, by which ECR's own client pushes and pulls."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from proxy.core.access.caller import Scheme
from proxy.core.registry.layers import PART_SIZE, Part
from proxy.http.aws.ecr.members import named
from proxy.http.aws.operations import Answer, ApiCall, Given, Operation
from proxy.model.access import Action
from proxy.model.reference import RepositoryName

TICKET_LIFETIME: Final = timedelta(hours=1)
"""How long the URL of a layer is good without credentials, as ECR's."""


async def batch_check_layer_availability(call: ApiCall, given: Given) -> Answer:
    """Tell which layers the repository holds."""
    found, failures = await call.services.layers.check(named(call, given), given["layerDigests"])
    return {
        "layers": [
            {
                "layerDigest": str(layer.digest),
                "layerAvailability": "AVAILABLE" if layer.size is not None else "UNAVAILABLE",
                "layerSize": layer.size,
                "mediaType": layer.media_type,
            }
            for layer in found
        ],
        "failures": [
            {"layerDigest": one.digest, "failureCode": one.code, "failureReason": one.reason} for one in failures
        ],
    }


async def initiate_layer_upload(call: ApiCall, given: Given) -> Answer:
    """Begin the upload of a layer."""
    upload = await call.services.layers.initiate(named(call, given), call.principal)
    return {"uploadId": upload, "partSize": PART_SIZE}


async def upload_layer_part(call: ApiCall, given: Given) -> Answer:
    """Take the next part of a layer."""
    name, upload = named(call, given), given["uploadId"]
    part = Part(given["partFirstByte"], given["partLastByte"], given["layerPartBlob"])
    return {
        "registryId": call.identity.account,
        "repositoryName": name,
        "uploadId": upload,
        "lastByteReceived": await call.services.layers.upload(name, call.principal, upload, part),
    }


async def complete_layer_upload(call: ApiCall, given: Given) -> Answer:
    """Make a layer of the parts that came."""
    name, upload = named(call, given), given["uploadId"]
    digest = await call.services.layers.complete(name, call.principal, upload, given["layerDigests"])
    return {
        "registryId": call.identity.account,
        "repositoryName": name,
        "uploadId": upload,
        "layerDigest": str(digest),
    }


async def get_download_url_for_layer(call: ApiCall, given: Given) -> Answer:
    """Tell where a layer can be downloaded."""
    repository, digest = await call.services.layers.locate(
        named(call, given), given["layerDigest"], may_fetch=call.may_fetch
    )
    url = f"{call.endpoint}/v2/{repository}/blobs/{digest}"
    return {"downloadUrl": url + _ticket(call, repository), "layerDigest": str(digest)}


def _ticket(call: ApiCall, repository: RepositoryName) -> str:
    """Return the query that makes a URL good without credentials: for what its caller may, and for a while."""
    if call.tickets is None:
        return ""
    actions = {Action.PULL, Action.FIRST_PULL} if call.may_fetch else {Action.PULL}
    bearer = replace(call.caller, scheme=Scheme.TICKET)
    return f"?ticket={call.tickets.issue(bearer, {repository: frozenset(actions)}, TICKET_LIFETIME).text}"


OPERATIONS: Final[Mapping[str, Operation]] = {
    "BatchCheckLayerAvailability": Operation(
        batch_check_layer_availability,
        differences="Of a cache, layers that only its upstream holds are UNAVAILABLE. mediaType is there once an image "
        "names the layer.",
        action=Action.PULL,
    ),
    "InitiateLayerUpload": Operation(
        initiate_layer_upload,
        differences="A cache takes layers only where its rule says `push: allow`.",
        action=Action.PUSH,
    ),
    "UploadLayerPart": Operation(
        upload_layer_part,
        differences="Neither the number of parts nor the size of a layer is limited. An upload is found by who began "
        "it.",
        action=Action.PUSH,
    ),
    "CompleteLayerUpload": Operation(
        complete_layer_upload,
        differences="Exactly one digest is taken, sha256 or sha512. LayerPartTooSmallException is answered only with "
        "`compatibility: ecr`, and by the process that took the part. An upload is found by who began it.",
        action=Action.PUSH,
    ),
    "GetDownloadUrlForLayer": Operation(
        get_download_url_for_layer,
        differences="The URL is that of the registry's own blob. With `auth` it is good for an hour without "
        "credentials, as long as its caller may pull; without, it does not expire. Layers that no image refers to are "
        "inaccessible only with `compatibility: ecr`.",
        action=Action.PULL,
    ),
}
