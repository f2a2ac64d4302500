"""The folders of a store: the only place that builds paths.

::

    <root>/
      blobs/sha256/ab/<hex>          complete, verified content
      fills/sha256/ab/<hex>.part     content on its way from upstream; only ever appended
      fills/sha256/ab/<hex>.fill     control record and lock of that fill
      uploads/<uuid>                 content on its way from a client
      metadata.sqlite                repositories, tags, manifests, proofs
"""

from dataclasses import dataclass
from pathlib import Path

from proxy.model.digest import Digest


@dataclass(frozen=True, slots=True)
class Layout:
    """Name every file of the store under `root`."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Return the folder of complete content."""
        return self.root / "blobs"

    @property
    def fills(self) -> Path:
        """Return the folder of content on its way from upstream."""
        return self.root / "fills"

    @property
    def uploads(self) -> Path:
        """Return the folder of content on its way from clients."""
        return self.root / "uploads"

    @property
    def database(self) -> Path:
        """Return the file of the metadata."""
        return self.root / "metadata.sqlite"

    def blob(self, digest: Digest) -> Path:
        """Return the file of a complete blob."""
        return self.blobs / digest.algorithm / digest.encoded[:2] / digest.encoded

    def part(self, digest: Digest) -> Path:
        """Return the file that a fill appends to."""
        return self.fills / digest.algorithm / digest.encoded[:2] / f"{digest.encoded}.part"

    def control(self, digest: Digest) -> Path:
        """Return the file of a fill's record and lock."""
        return self.fills / digest.algorithm / digest.encoded[:2] / f"{digest.encoded}.fill"
