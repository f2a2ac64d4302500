"""Small manifests, written as registries send them."""

import json

from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(content: bytes, media_type: str = LAYER_TYPE, **fields: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **fields}


def image(config: bytes = b"{}", /, *layers: bytes, **fields: object) -> bytes:
    """Return an OCI image manifest; `fields` are added to the document."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, CONFIG_TYPE),
        "layers": [descriptor(layer) for layer in layers],
    }
    return json.dumps(document | fields).encode()


def index(*manifests: bytes, **fields: object) -> bytes:
    """Return an OCI image index of image manifests."""
    entries = [descriptor(raw, OCI_MANIFEST) for raw in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries} | fields).encode()
