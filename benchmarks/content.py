"""The content that every server of a scenario has, as files that a web server can answer a registry's requests with."""

from pathlib import Path

from tests.support import images
from tests.support.images import Image


class Content:
    """A tree of ``v2/<repository>/{manifests,blobs}/<reference>`` under `root`.

    `digests` gives the digest of what a path below the root holds, for paths that do not name it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests: dict[str, str] = {}

    def add(self, image: Image, repository: str, tag: str) -> None:
        """Write an image: its blobs, and its manifest by digest and by tag."""
        for digest, blob in image.blobs.items():
            self._write(f"/v2/{repository}/blobs/{digest}", blob)
        for reference in (image.digest, tag):
            self._write(f"/v2/{repository}/manifests/{reference}", image.manifest)
        self.digests[f"/v2/{repository}/manifests/{tag}"] = image.digest

    def noise(self, repository: str, seed: int, size: int) -> str:
        """Write a blob that does not compress, and return its digest."""
        blob = images.noise(seed, size)
        digest = images.digest_of(blob)
        self._write(f"/v2/{repository}/blobs/{digest}", blob)
        return digest

    def _write(self, path: str, data: bytes) -> None:
        file = self.root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
