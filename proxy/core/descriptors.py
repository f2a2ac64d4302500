"""Lists of descriptors as documents: what referrers lists are kept and sent as."""

from collections.abc import Iterable
from typing import Any

import msgspec

from proxy.core.ports import ManifestRecord
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.manifest import parse_descriptors
from proxy.model.media_types import OCI_INDEX


class IndexPage:
    """Compose an image index of at most `entries` descriptors and, if these are several, `size` bytes."""

    def __init__(self, entries: int, size: int) -> None:
        self._entries = entries
        self._left = size - len(_assemble(()))
        self._parts: list[bytes] = []
        self.last: Digest | None = None

    def add(self, descriptor: Descriptor) -> bool:
        """Append a descriptor; tell whether there was room for it."""
        part = msgspec.json.encode(_fields(descriptor))
        self._left -= len(part) + 1
        if len(self._parts) >= self._entries or (self._parts and self._left < 0):
            return False
        self._parts.append(part)
        self.last = descriptor.digest
        return True

    @property
    def document(self) -> bytes:
        """Return the index of what was added."""
        return _assemble(self._parts)


def encode_index(descriptors: Iterable[Descriptor]) -> bytes:
    """Return an OCI image index of `descriptors`, in their order."""
    return _assemble(msgspec.json.encode(_fields(one)) for one in descriptors)


def decode_index(document: bytes) -> tuple[Descriptor, ...]:
    """Return the descriptors of an image index; `ProxyError` MANIFEST_INVALID where it is none."""
    return parse_descriptors(document)


def describe(record: ManifestRecord) -> Descriptor:
    """Return the descriptor under which a referrers list names a kept manifest."""
    return Descriptor(record.media_type, record.digest, record.size, record.artifact_type, dict(record.annotations))


def _assemble(manifests: Iterable[bytes]) -> bytes:
    return b'{"schemaVersion":2,"mediaType":"%b","manifests":[%b]}' % (OCI_INDEX.encode(), b",".join(manifests))


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
