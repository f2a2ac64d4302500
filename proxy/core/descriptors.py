"""Lists of descriptors as documents: what referrers lists are kept and sent as."""

from collections.abc import Iterable
from typing import Any

import msgspec

from proxy.core.ports import ManifestRecord
from proxy.model.descriptor import Descriptor
from proxy.model.manifest import parse_descriptors
from proxy.model.media_types import OCI_INDEX


def encode_index(descriptors: Iterable[Descriptor]) -> bytes:
    """Return an OCI image index of `descriptors`, in their order."""
    return msgspec.json.encode(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_fields(one) for one in descriptors]}
    )


def decode_index(document: bytes) -> tuple[Descriptor, ...]:
    """Return the descriptors of an image index; `ProxyError` MANIFEST_INVALID where it is none."""
    return parse_descriptors(document)


def describe(record: ManifestRecord) -> Descriptor:
    """Return the descriptor under which a referrers list names a kept manifest."""
    return Descriptor(record.media_type, record.digest, record.size, record.artifact_type, dict(record.annotations))


def _fields(descriptor: Descriptor) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        fields["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        fields["annotations"] = dict(descriptor.annotations)
    return fields
