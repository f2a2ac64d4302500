"""Images built from the content of Debian packages, byte for byte the same on each run, and a small pusher.

A layer is the file tree of one package as ``dpkg-deb`` gives it, compressed without a time stamp.
"""

import gzip
import hashlib
import io
import json
import random
import subprocess
import tarfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(content: bytes) -> str:
    """Return the sha256 digest of `content` as references write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Image:
    """A manifest with everything it refers to, or an index over such images."""

    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes]
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest)}

    @property
    def layers(self) -> list[str]:
        """Return the digests of the layers, of an index those of its first image."""
        if self.children:
            return self.children[0].layers
        return [layer["digest"] for layer in json.loads(self.manifest)["layers"]]

    @property
    def config(self) -> str:
        """Return the digest of the configuration, of an index that of its first image."""
        if self.children:
            return self.children[0].config
        config: str = json.loads(self.manifest)["config"]["digest"]
        return config


def noise(seed: int, size: int) -> bytes:
    """Return bytes that look random and are the same on each run."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - content, not a secret


def build(
    layers: Sequence[bytes], *, architecture: str = "amd64", entrypoint: Sequence[str] = ("/bin/busybox",)
) -> Image:
    """Return an image of uncompressed tar `layers`."""
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin:/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
    }
    config = json.dumps(configuration).encode()
    compressed = [gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers]
    return of_blobs(config, compressed)


def of_blobs(
    config: bytes,
    layers: Sequence[bytes],
    *,
    media_type: str = OCI_MANIFEST,
    config_type: str = OCI_CONFIG,
    layer_type: str = OCI_LAYER,
    **more: object,
) -> Image:
    """Return an image over these bytes, whatever they are; `more` are further fields of the manifest."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": layer_type, "digest": digest_of(layer), "size": len(layer)} for layer in layers],
        **more,
    }
    blobs = {digest_of(blob): blob for blob in (config, *layers)}
    return Image(json.dumps(manifest).encode(), media_type, blobs)


def as_docker(image: Image) -> Image:
    """Return the image with the same content and the media types of Docker's schema 2."""
    return of_blobs(
        image.blobs[image.config],
        [image.blobs[layer] for layer in image.layers],
        media_type=DOCKER_MANIFEST,
        config_type=DOCKER_CONFIG,
        layer_type=DOCKER_LAYER,
    )


def variants(image: Image, count: int) -> list[Image]:
    """Return `count` images over the blobs of `image`, whose manifests differ in an annotation."""
    document = json.loads(image.manifest)
    manifests = [{**document, "annotations": {"variant": str(number)}} for number in range(count)]
    return [Image(json.dumps(manifest).encode(), image.media_type, image.blobs) for manifest in manifests]


def chart(name: str, version: str) -> Image:
    """Return a chart with one file, as Helm packs it."""
    about = {"apiVersion": "v2", "name": name, "version": version}
    files = _tar({f"{name}/Chart.yaml": json.dumps(about).encode()})
    packed = gzip.compress(files, mtime=0)
    return of_blobs(json.dumps(about).encode(), [packed], config_type=HELM_CONFIG, layer_type=HELM_CHART)


def index(images: Mapping[str, Image]) -> Image:
    """Return an index of `images` by architecture."""
    manifests = [
        {**image.descriptor, "platform": {"architecture": architecture, "os": "linux"}}
        for architecture, image in images.items()
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return Image(json.dumps(document).encode(), OCI_INDEX, {}, tuple(images.values()))


def tree(deb: Path) -> bytes:
    """Return the files of a Debian package as an uncompressed tar archive."""
    return subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout


def write_archive(image: Image, reference: str, file: Path) -> None:
    """Write the image as ``docker save`` does, under a name with a tag."""
    names = {
        digest: f"{digest.removeprefix('sha256:')}.{'json' if digest == image.config else 'tar'}"
        for digest in image.blobs
    }
    about = {
        "Config": names[image.config],
        "RepoTags": [reference],
        "Layers": [names[layer] for layer in image.layers],
    }
    files = {names[digest]: blob for digest, blob in image.blobs.items()}
    file.write_bytes(_tar({"manifest.json": json.dumps([about]).encode(), **files}))


def write_layout(image: Image, tag: str, folder: Path) -> None:
    """Write an image, or an index with all its images, as an OCI image layout with one tag."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    named = {**image.descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]}))
    for each in (image, *image.children):
        for digest, blob in {each.digest: each.manifest, **each.blobs}.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(blob)


def push(image: Image, registry: str, repository: str, reference: str) -> None:
    """Store `image` in a registry (``http://127.0.0.1:5000``) under `reference`, a tag or a digest."""
    for child in image.children:
        push(child, registry, repository, child.digest)
    for digest, blob in image.blobs.items():
        opened = _request("POST", f"{registry}/v2/{repository}/blobs/uploads/")
        location = urljoin(registry, opened["Location"])
        joined = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        _request("PUT", joined, blob, "application/octet-stream")
    _request("PUT", f"{registry}/v2/{repository}/manifests/{reference}", image.manifest, image.media_type)


def _tar(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of `files` that is the same on each run."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _request(method: str, url: str, body: bytes = b"", content_type: str = "") -> Mapping[str, str]:
    headers = {"Content-Type": content_type} if content_type else {}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)  # noqa: S310 - loopback only
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback only
        return dict(answer.headers)
