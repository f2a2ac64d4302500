"""Descriptors (OCI image-spec, descriptor)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.model.digest import Digest


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Point to content: its media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
