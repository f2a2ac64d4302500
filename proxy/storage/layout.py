"""The folders of a store: the only place that builds paths.

::

    <root>/
      blobs/sha256/ab/<hex>          complete, verified content
      fills/sha256/ab/<hex>.part     content on its way from upstream; only ever appended
      fills/sha256/ab/<hex>.fill     control record and lock of that fill
      sessions/<uuid>.json           what an upload of a client is; it may take many requests
      sessions/<uuid>.part           the bytes of that upload, and its lock
      uploads/<hex>                  content that one call is writing; nobody's once that has ended
      keys/<name>.key                keys that the store made for itself; nobody else may read them
      metadata.sqlite                repositories, tags, manifests, proofs
"""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

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
    def sessions(self) -> Path:
        """Return the folder of content on its way from clients."""
        return self.root / "sessions"

    @property
    def uploads(self) -> Path:
        """Return the folder of content that one call is writing."""
        return self.root / "uploads"

    @property
    def database(self) -> Path:
        """Return the file of the metadata."""
        return self.root / "metadata.sqlite"

    @property
    def audit(self) -> Path:
        """Return the file of the audit trail, where the configuration names none."""
        return self.root / "audit.jsonl"

    def blob(self, digest: Digest) -> Path:
        """Return the file of a complete blob."""
        return self.blobs / digest.algorithm / digest.encoded[:2] / digest.encoded

    def part(self, digest: Digest) -> Path:
        """Return the file that a fill appends to."""
        return self.fills / digest.algorithm / digest.encoded[:2] / f"{digest.encoded}.part"

    def control(self, digest: Digest) -> Path:
        """Return the file of a fill's record and lock."""
        return self.fills / digest.algorithm / digest.encoded[:2] / f"{digest.encoded}.fill"

    def session_record(self, upload: UUID) -> Path:
        """Return the file that tells what an upload is. Ids come from the network: only a `UUID` is safe in a path."""
        return self.sessions / f"{upload}.json"

    def session_part(self, upload: UUID) -> Path:
        """Return the file that an upload appends to and is locked by."""
        return self.sessions / f"{upload}.part"

    def key(self, name: str) -> Path:
        """Return the file of a key."""
        return self.root / "keys" / f"{name}.key"
