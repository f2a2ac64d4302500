"""Content of every kind that a registry has to take: images, indexes, artifacts, and their odd relatives."""

import gzip
import io
import json
import tarfile
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from tests.conformance.registry import Blob, digest_of

CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = f"{LAYER}+gzip"
NON_DISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
REPORT = "application/vnd.example.report.v1"
SIGNATURE = "application/vnd.example.signature.v1"

LARGE = 390
"""So many annotations of 10 000 characters make a manifest of 3.9 MB, just below the 4 MiB that each has to take."""

Json = dict[str, Any]
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}


class DataSet:
    """Blobs and manifests in the order of their push, tags, and what refers to what, all of one digest algorithm.

    With `by_parameter` each manifest is pushed once, its tags beside its digest. `inline`: descriptors carry content.
    """

    def __init__(self, algorithm: str = "sha256", *, by_parameter: bool = False, inline: bool = False) -> None:
        self.algorithm = algorithm
        self.by_parameter = by_parameter
        self.inline = inline
        self.sparse = False
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.referrers: dict[str, dict[str, Json]] = {}

    def each_blob(self) -> list[Blob]:
        return [Blob(content, digest) for digest, content in self.blobs.items()]

    def tags_of(self, digest: str) -> list[str]:
        return [tag for tag, named in self.tags.items() if named == digest]

    def blob(self, content: bytes, media_type: str) -> Json:
        """Add a blob and return its descriptor; so do all methods below for what they add."""
        descriptor = self._describe(content, media_type)
        self.blobs[descriptor["digest"]] = content
        return descriptor

    def layer(self, *, compressed: bool = True) -> Json:
        """Add a layer with one file that no other layer has."""
        archive = _archive(f"layer {len(self.blobs)}\n".encode())
        if compressed:
            return self.blob(gzip.compress(archive, mtime=0), LAYER_GZIP)
        return self.blob(archive, LAYER)

    def config(self, layers: Sequence[Json], platform: Mapping[str, str] = AMD64, **more: object) -> Json:
        # The digests of layers as they are in the archive are nothing that a registry reads.
        rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
        return self.blob(_encode({**platform, "rootfs": rootfs, **more}), CONFIG)

    def image(
        self,
        *,
        layers: int = 2,
        compressed: bool = True,
        platform: Mapping[str, str] = AMD64,
        more: Mapping[str, object] | None = None,
        tag: str | None = None,
        **fields: object,
    ) -> Json:
        """Add an image; `fields` are those of its manifest, `more` is added to manifest and configuration."""
        added = [self.layer(compressed=compressed) for _ in range(layers)]
        return self.manifest(self.config(added, platform, **more or {}), added, tag=tag, **fields, **more or {})

    def artifact(
        self, kind: str, content: bytes, media_type: str | None = None, *, tag: str | None = None, **fields: object
    ) -> Json:
        """Add an artifact of one blob; its configuration is the empty object."""
        payload = self.blob(content, media_type or kind)
        return self.manifest(self.blob(b"{}", EMPTY), [payload], tag=tag, artifactType=kind, **fields)

    def manifest(self, config: Json, layers: Sequence[Json], *, tag: str | None = None, **fields: object) -> Json:
        document = {"config": config, "layers": list(layers), **fields}
        kind = fields.get("artifactType", config["mediaType"])
        return self._add(OCI_MANIFEST, document, kind, tag)

    def index(self, children: Sequence[Json], *, tag: str | None = None, **fields: object) -> Json:
        document = {"manifests": list(children), **fields}
        return self._add(OCI_INDEX, document, fields.get("artifactType"), tag)

    def platforms(self, *, tag: str | None = None, more: Mapping[str, object] | None = None, **fields: object) -> Json:
        """Add an index of two images; `fields` are those of the index, `more` is added to all documents."""
        children = [self.image(platform=each, more=more) | {"platform": each} for each in (AMD64, ARM64)]
        return self.index(children, tag=tag, **fields, **more or {})

    def _add(self, media_type: str, document: Json, kind: object, tag: str | None) -> Json:
        content = _encode({"schemaVersion": 2, "mediaType": media_type, **document})
        descriptor = self._describe(content, media_type)
        digest = descriptor["digest"]
        self.manifests[digest] = content
        if tag is not None:
            self.tags[tag] = digest
        if "subject" in document:
            listed = {"mediaType": media_type, "digest": digest, "size": len(content)}
            listed |= {"artifactType": kind} if kind is not None else {}
            listed |= {"annotations": document["annotations"]} if "annotations" in document else {}
            self.referrers.setdefault(document["subject"]["digest"], {})[digest] = listed
        return descriptor

    def _describe(self, content: bytes, media_type: str) -> Json:
        descriptor = {"mediaType": media_type, "digest": digest_of(content, self.algorithm), "size": len(content)}
        return descriptor | ({"data": b64encode(content).decode()} if self.inline else {})


def _encode(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode()


def _archive(content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo("./file.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def image() -> DataSet:
    data = DataSet()
    data.image(tag="image")
    return data


def uncompressed_image() -> DataSet:
    data = DataSet()
    data.image(tag="image-uncompressed", compressed=False)
    return data


def large_manifest() -> DataSet:
    data = DataSet()
    data.image(tag="large-manifest", annotations={f"org.example.{number}": "A" * 10_000 for number in range(LARGE)})
    return data


def index() -> DataSet:
    data = DataSet()
    data.platforms(tag="index")
    return data


def nested_index() -> DataSet:
    data = DataSet()
    data.index([data.platforms(), data.platforms()], tag="index-of-indexes")
    return data


def empty_index() -> DataSet:
    data = DataSet()
    data.index([], tag="empty-index")
    return data


def artifact() -> DataSet:
    data = DataSet()
    data.artifact(REPORT, b"a report", tag="artifact")
    return data


def artifact_index() -> DataSet:
    data = DataSet()
    children = [data.artifact(REPORT, content) for content in (b"one report", b"another report")]
    data.index(children, tag="artifact-index", artifactType=REPORT)
    return data


def artifact_without_layers() -> DataSet:
    # image-spec, "Guidelines for Artifact Usage": one empty layer stands for none.
    data = DataSet()
    data.artifact(REPORT, b"{}", EMPTY, tag="artifact-without-layers")
    return data


def artifacts_with_subject() -> DataSet:
    """Three referrers of one image: an image, whose type is its configuration's, and two artifacts."""
    data = DataSet()
    subject = data.image(tag="subject")
    data.image(subject=subject)
    told = {"org.example.note": "a signed image", "org.example.empty": ""}
    data.artifact(REPORT, b"a report", subject=subject, annotations=told, tag="report")
    data.artifact(SIGNATURE, b"sign", "application/octet-stream", subject=subject, annotations=told, tag="signature")
    return data


def index_with_subject() -> DataSet:
    """Two indexes that refer to an index, one of them without an artifact type."""
    data = DataSet()
    subject = data.platforms(tag="index")
    children = [data.artifact(REPORT, content) for content in (b"report 1", b"report 2")]
    told = {"org.example.note": "reports"}
    data.index(children, subject=subject, artifactType=REPORT, annotations=told, tag="reports")
    data.index(children, subject=subject)
    return data


def missing_subject() -> DataSet:
    data = DataSet()
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"never pushed"), "size": 12}
    data.artifact(REPORT, b"a report", subject=subject, annotations={"org.example.note": "early"}, tag="early")
    return data


def inline_content() -> DataSet:
    data = DataSet(inline=True)
    data.image(tag="data-field")
    return data


def non_distributable_layers() -> DataSet:
    data = DataSet()
    elsewhere = [
        {
            "mediaType": media_type,
            "digest": digest_of(media_type.encode()),
            "size": 123_456,
            "urls": [f"https://store.example.com/{digest_of(media_type.encode())}"],
        }
        for media_type in (NON_DISTRIBUTABLE, f"{NON_DISTRIBUTABLE}+gzip")
    ]
    layers = [*elsewhere, data.layer()]
    data.manifest(data.config(layers), layers, tag="non-distributable-layers")
    return data


def custom_fields() -> DataSet:
    data = DataSet()
    data.platforms(tag="custom-fields", more={"org.example.custom": {"nested": [1, None, "x"]}})
    return data


def no_layers() -> DataSet:
    data = DataSet()
    data.image(tag="no-layers", layers=0)
    return data


def sparse_index() -> DataSet:
    """An index whose second image is not pushed."""
    data = DataSet()
    data.sparse = True
    absent = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"not pushed"), "size": 10, "platform": ARM64}
    data.index([data.image() | {"platform": AMD64}, absent], tag="sparse-index")
    return data


def other_algorithm() -> DataSet:
    # Without ?tag= a tag means a push by tag, which is named by sha256: so there is none.
    data = DataSet("sha512")
    data.platforms()
    return data


def tag_parameters(algorithm: str) -> DataSet:
    """An index with two tags, and images with one each."""
    data = DataSet(algorithm, by_parameter=True)
    data.platforms(tag=f"top-{algorithm}")
    data.tags |= {f"{algorithm}-{place}": digest for place, digest in enumerate(data.manifests)}
    return data


DATA_SETS: Mapping[str, Callable[[], DataSet]] = {
    "image": image,
    "uncompressed image": uncompressed_image,
    "large manifest": large_manifest,
    "index": index,
    "nested index": nested_index,
    "empty index": empty_index,
    "artifact": artifact,
    "artifact index": artifact_index,
    "artifact without layers": artifact_without_layers,
    "artifacts with subject": artifacts_with_subject,
    "index with subject": index_with_subject,
    "missing subject": missing_subject,
    "inline content": inline_content,
    "non-distributable layers": non_distributable_layers,
    "custom fields": custom_fields,
    "no layers": no_layers,
    "sparse index": sparse_index,
    "sha512": other_algorithm,
    "tag parameters": lambda: tag_parameters("sha256"),
    "tag parameters with sha512": lambda: tag_parameters("sha512"),
}
