"""Media types of manifests (OCI image-spec and Docker's image manifest v2 schema 2)."""

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
SCHEMA1_PREFIX = "application/vnd.docker.distribution.manifest.v1+"

ACCEPT = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, "*/*")
"""What is sent upstream whatever a client accepts: quay converts and ghcr answers 404 where a type is missing."""

TYPE_LIMIT = 255
"""The most characters of a media type: twice 127 and the slash (RFC 6838 §4.2)."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TYPE = re.compile(rf"{_NAME}/{_NAME}")

_FOREIGN = ("application/vnd.oci.image.layer.nondistributable.v1.", "application/vnd.docker.image.rootfs.foreign.")


def is_media_type(text: str) -> bool:
    """Tell whether `text` is a media type without parameters (RFC 6838 §4.2)."""
    return _TYPE.fullmatch(text) is not None


def fits_type(text: str) -> bool:
    """Tell whether `text` may stand where a media type stands: registries hold documents in which it is none."""
    return len(text) <= TYPE_LIMIT and text.isascii() and (text.isprintable() or not text)


def is_foreign(media_type: str) -> bool:
    """Tell whether layers of this type are not to be had from registries (image-spec, "Non-Distributable Layers")."""
    return media_type.startswith(_FOREIGN)
