"""Descriptors (OCI image-spec, descriptor)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.model.digest import Digest
from proxy.model.media_types import fits_type, is_foreign

SIZE_LIMIT = (1 << 63) - 1
"""The largest size that a descriptor may name (image-spec, descriptor: an int64)."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Point to content: its media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()

    @property
    def is_foreign(self) -> bool:
        """Tell whether the content may be kept elsewhere: the registry that holds the manifest need not hold it."""
        return bool(self.urls) or is_foreign(self.media_type)

    @property
    def is_sound(self) -> bool:
        """Tell whether its size and types can be kept with the metadata and sent in lists."""
        return 0 <= self.size <= SIZE_LIMIT and fits_type(self.media_type) and fits_type(self.artifact_type or "")
