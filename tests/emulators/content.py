"""What upstream registries hold: repositories of manifests, tags and blobs, and one of each kind of them."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from proxy.model.digest import Digest
from proxy.model.media_types import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import referrers_tag

SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
SBOM = "application/spdx+json"

EVERY_ACCOUNT = frozenset({"*"})

_BLOCK = 1 << 16


class Blob(Protocol):
    """Content of known size and digest, read in any order."""

    @property
    def size(self) -> int: ...

    @property
    def digest(self) -> Digest: ...

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop)."""


@dataclass(frozen=True)
class Bytes:
    """A blob in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]


@dataclass(frozen=True)
class Generated:
    """A blob of any size that takes no memory: each of its blocks is derived from the seed."""

    seed: str
    size: int

    @cached_property
    def digest(self) -> Digest:
        """Return the digest; the first time costs a pass over the content."""
        hasher = hashlib.sha256()
        for start in range(0, self.size, _BLOCK):
            hasher.update(self.read(start, min(start + _BLOCK, self.size)))
        return Digest("sha256", hasher.hexdigest())

    def read(self, start: int, stop: int) -> bytes:
        first, last = start // _BLOCK, -(-stop // _BLOCK)
        blocks = b"".join(self._block(number) for number in range(first, last))
        return blocks[start - first * _BLOCK : stop - first * _BLOCK]

    def _block(self, number: int) -> bytes:
        return hashlib.shake_128(f"{self.seed}:{number}".encode()).digest(_BLOCK)


@dataclass(frozen=True)
class Manifest:
    """A manifest's exact bytes, its type, and the digest it was pushed under."""

    raw: bytes
    media_type: str
    digest: Digest

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.raw)

    @property
    def size(self) -> int:
        return len(self.raw)

    def descriptor(self, **fields: object) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size, **fields}


@dataclass
class Repository:
    """A repository. `readers` are the user names that may pull it, or `EVERY_ACCOUNT`; None is for everybody.

    `tags` keep the order in which they were made. `expired` are tags that were deleted: quay.io says so.
    """

    readers: frozenset[str] | None = None
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    blobs: dict[Digest, Blob] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)

    def may_pull(self, user: str | None) -> bool:
        """Tell whether a user (None: anonymous) may pull."""
        return self.readers is None or (user is not None and bool(self.readers & {"*", user}))

    def find(self, reference: str) -> Manifest | None:
        """Return the manifest that a tag or a digest names."""
        if ":" not in reference:
            digest = self.tags.get(reference)
            return self.manifests.get(digest) if digest is not None else None
        return next((held for digest, held in self.manifests.items() if str(digest) == reference), None)

    def find_blob(self, digest: str) -> Blob | None:
        return next((blob for held, blob in self.blobs.items() if str(held) == digest), None)

    def put(self, document: dict[str, Any], *tags: str, algorithm: str = "sha256") -> Manifest:
        """Hold a manifest whose document names its own type."""
        raw = json.dumps(document, indent=2).encode()
        return self.put_raw(raw, document["mediaType"], *tags, algorithm=algorithm)

    def put_raw(self, raw: bytes, media_type: str, *tags: str, algorithm: str = "sha256") -> Manifest:
        """Hold a manifest under its sha256 digest, under that of `algorithm`, and under `tags`."""
        manifest = Manifest(raw, media_type, Digest.of(raw, algorithm))
        self.manifests |= {Digest.of(raw): manifest, manifest.digest: manifest}
        self.tags |= dict.fromkeys(tags, Digest.of(raw))
        return manifest

    def put_blob(self, blob: Blob | bytes) -> Blob:
        held = Bytes(blob) if isinstance(blob, bytes) else blob
        self.blobs[held.digest] = held
        return held

    def delete_tag(self, tag: str) -> None:
        """Remove a tag, as an upstream does: its manifest stays for who knows the digest."""
        del self.tags[tag]
        self.expired.add(tag)

    def delete_manifest(self, digest: Digest) -> None:
        """Remove a manifest with the tags that point to it."""
        manifest = self.manifests[digest]
        self.manifests = {held: other for held, other in self.manifests.items() if other is not manifest}
        for tag in [tag for tag, held in self.tags.items() if held not in self.manifests]:
            self.delete_tag(tag)

    def referrers(self, subject: str) -> Iterator[dict[str, object]]:
        """Yield the descriptors of manifests whose subject is `subject` (distribution-spec, "Listing Referrers")."""
        for digest, manifest in self.manifests.items():
            document = manifest.document
            if digest != manifest.digest or document.get("subject", {}).get("digest") != subject:
                continue
            artifact_type = document.get("artifactType") or document.get("config", {}).get("mediaType")
            fields = {"artifactType": artifact_type, "annotations": document.get("annotations")}
            yield manifest.descriptor(**{name: value for name, value in fields.items() if value})


def blob_descriptor(blob: Blob, media_type: str, **fields: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(blob.digest), "size": blob.size, **fields}


def image(repository: Repository, *layers: Blob, architecture: str = "amd64", docker: bool = False) -> dict[str, Any]:
    """Return the document of an image of `layers`, which with its configuration go into the repository."""
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
    }
    config = repository.put_blob(json.dumps(configuration).encode())
    config_type, layer_type = (DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_CONFIG, OCI_LAYER)
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": blob_descriptor(config, config_type),
        "layers": [blob_descriptor(repository.put_blob(layer), layer_type) for layer in layers],
    }


def index(*manifests: dict[str, object]) -> dict[str, Any]:
    """Return the document of an index of descriptors."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}


def artifact(repository: Repository, content: bytes, artifact_type: str, subject: Manifest | None) -> dict[str, Any]:
    """Return the document of an artifact that refers to `subject` (image-spec, "Guidelines for Artifact Usage")."""
    config = repository.put_blob(b"{}")
    layer = repository.put_blob(content)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": blob_descriptor(config, EMPTY_CONFIG),
        "layers": [blob_descriptor(layer, artifact_type)],
        "annotations": {"org.opencontainers.image.created": "2024-01-01T00:00:00Z"},
    }
    return document if subject is None else document | {"subject": subject.descriptor()}


def schema1(name: str, tag: str, layers: list[str]) -> bytes:
    """Return a signed manifest of schema version 1, as registries make them up for old clients."""
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": layer} for layer in layers],
        "history": [{"v1Compatibility": json.dumps({"id": layer[7:]})} for layer in layers],
    }
    signature = base64.urlsafe_b64encode(hashlib.sha256(json.dumps(document).encode()).digest()).decode()
    signed = document | {"signatures": [{"header": {"alg": "ES256"}, "signature": signature, "protected": "e30"}]}
    return json.dumps(signed, indent=3).encode()


class Samples(Repository):
    """A repository with one of each kind of content; `note` tells its bytes from those of other repositories.

    Tags: ``latest`` and ``1.0`` the index, ``image`` the Docker image, ``nested``, ``old`` (schema 1), ``big``,
    ``sha512``, ``sha256-<hex>`` the fallback list of `listed`, ``sha256-<hex>.sig`` cosign's signature of `image`.
    """

    def __init__(self, note: str, *, readers: frozenset[str] | None = None, big: int = 8 << 20) -> None:
        super().__init__(readers)
        self.layer = self.put_blob(f"the layer of {note} ".encode() * 4096)
        self.empty_blob = self.put_blob(b"")
        self.big_blob = self.put_blob(Generated(note, big))
        self.image = self.put(image(self, self.layer, docker=True), "image")
        self.children = [
            self.put(image(self, self.layer, self.empty_blob, architecture=architecture))
            for architecture in ("amd64", "arm64")
        ]
        self.attestation = self.put(self._attestation_document())
        self.index = self.put(self._index_document(), "1.0", "latest")
        self.nested = self.put(index(self.index.descriptor(), self.image.descriptor()), "nested")
        self.artifact = self.put(artifact(self, f"an SBOM of {note}".encode(), SBOM, self.index))
        self.big = self.put(image(self, self.big_blob), "big")
        self.listed = self.big
        self.listing = self._put_fallback(self.listed, note)
        self.signature = self._put_signature(self.image, note)
        old = schema1(note, "old", [str(self.layer.digest)])
        self.schema1 = self.put_raw(old, SCHEMA1, "old")
        self.sha512 = self.put(image(self, self.layer) | {"annotations": {"algorithm": "512"}}, algorithm="sha512")
        self.tags["sha512"] = Digest.of(self.sha512.raw)

    def _attestation_document(self) -> dict[str, Any]:
        statement = self.put_blob(json.dumps({"subject": str(self.children[0].digest)}).encode())
        document = image(self, architecture="unknown")
        return document | {"layers": [blob_descriptor(statement, IN_TOTO)]}

    def _index_document(self) -> dict[str, Any]:
        platforms = [
            child.descriptor(platform={"architecture": architecture, "os": "linux"})
            for child, architecture in zip(self.children, ("amd64", "arm64"), strict=True)
        ]
        described = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": str(self.children[0].digest),
        }
        unknown = {"architecture": "unknown", "os": "unknown"}
        return index(*platforms, self.attestation.descriptor(platform=unknown, annotations=described))

    def _put_fallback(self, subject: Manifest, note: str) -> Manifest:
        """Hold a referrer whose registry knew no referrers API: its client kept a list under a tag."""
        referrer = self.put(artifact(self, f"a second SBOM of {note}".encode(), SBOM, subject))
        described = referrer.descriptor(artifactType=SBOM)
        return self.put(index(described), str(referrers_tag(subject.digest)))

    def _put_signature(self, signed: Manifest, note: str) -> Manifest:
        payload = self.put_blob(json.dumps({"critical": {"image": str(signed.digest)}, "note": note}).encode())
        document = image(self) | {"layers": [blob_descriptor(payload, COSIGN_LAYER)]}
        return self.put(document, f"sha256-{signed.digest.encoded}.sig")


@dataclass
class Content:
    """What an emulator serves: samples for everybody, others for accounts.

    Each kind mounts them under names that are natural there; further repositories go into `Emulator.repositories`.
    """

    public: Samples = field(default_factory=lambda: Samples("public"))
    private: Samples = field(default_factory=lambda: Samples("private", readers=EVERY_ACCOUNT))


def platforms_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield (architecture, digest) of the images of an index."""
    for entry in manifest.document.get("manifests", ()):
        yield entry.get("platform", {}).get("architecture", ""), entry["digest"]


def layers_of(manifest: Manifest) -> list[str]:
    return [layer["digest"] for layer in manifest.document.get("layers", ())]


def single(manifest: Manifest, repository: Repository) -> Manifest | None:
    """Return the linux/amd64 image of a manifest, None if it has none."""
    if manifest.media_type != OCI_INDEX:
        return manifest
    found = next((digest for architecture, digest in platforms_of(manifest) if architecture == "amd64"), None)
    return repository.find(found) if found is not None else None
