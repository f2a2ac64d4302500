"""Upstream registries with real images, and the product in front of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme

from tests.support import ecr_registries, images, parts
from tests.support.clients import Docker
from tests.support.docker_registry import Certificate, DockerRegistry
from tests.support.ecr_registries import Registry
from tests.support.emulated import Emulated
from tests.support.images import Image
from tests.support.pullthrough import Pullthrough

HUB = "registry-1.docker.io"
# A static shell to run, and programs and libraries enough to make layers of up to tens of megabytes.
_AMD64 = ("busybox-static", "coreutils", "git", "libc6")
_ARM64 = ("tzdata", "ca-certificates")


@dataclass(frozen=True)
class Catalogue:
    """What the upstream registries hold: `image` is ``library/tools:1`` and ``team/tools:1`` in each of them."""

    storage: Path
    image: Image


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: sockets have at most 104 characters, podman's folders 50."""
    with TemporaryDirectory(prefix="pt-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("catalogue")
    toolbox = parts.require(parts.REGISTRY)
    try:
        debs = parts.fetch([*_AMD64, *_ARM64])
    except parts.UnobtainableError as error:
        parts.unobtainable(f"no content for images: {error}")
    trees = [images.tree(deb) for deb in debs]
    amd64 = images.build(trees[: len(_AMD64)])
    arm64 = images.build(trees[len(_AMD64) :], architecture="arm64")
    image = images.index({"amd64": amd64, "arm64": arm64})
    registry = DockerRegistry(toolbox, folder / "storage", folder / "registry")
    registry.start()
    try:
        for repository in ("library/tools", "team/tools"):
            images.push(image, registry.url, repository, "1")
    finally:
        registry.stop()
    return Catalogue(folder / "storage", image)


@pytest.fixture(scope="session")
def image() -> Image:
    """A small image that clients take: a shell and its time zones."""
    try:
        layers = [images.tree(deb) for deb in parts.fetch(["busybox-static", "tzdata"])]
    except parts.UnobtainableError as error:
        parts.unobtainable(f"no content for images: {error}")
    return images.build(layers)


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    toolbox = parts.require(parts.DOCKER, root=True)
    with TemporaryDirectory(prefix="pt-") as folder, Docker(toolbox, Path(folder) / "docker") as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for Docker Hub's name, from an authority of our own."""
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    issued = authority.issue_cert(HUB)
    files = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")
    for place, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(files.certificate), append=place > 0)
    issued.private_key_pem.write_to_path(str(files.key))
    authority.cert_pem.write_to_path(str(files.authority))
    return files


@pytest.fixture
def upstream(catalogue: Catalogue, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A private registry without TLS."""
    registry = DockerRegistry(parts.require(parts.REGISTRY), catalogue.storage, tmp_path / "upstream")
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def hub(catalogue: Catalogue, certificate: Certificate, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that plays Docker Hub, under its name."""
    toolbox = parts.require(parts.REGISTRY)
    registry = DockerRegistry(toolbox, catalogue.storage, tmp_path / "hub", certificate=certificate)
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def settings(upstream: DockerRegistry, hub: DockerRegistry, certificate: Certificate) -> dict[str, Any]:
    """Two rules: ``up`` has its tags checked at each pull, ``docker-hub`` is as it is shipped.

    Neither completes images in the background: what upstream was asked is then what the clients asked.
    """
    return {
        "upstreams": {"connect_to": {HUB: hub.address}, "ca_file": str(certificate.authority)},
        "rules": [
            {"prefix": "up", "upstream": upstream.url, "revalidate_after": 0, "complete": False},
            {"prefix": "docker-hub", "upstream": HUB, "complete": False},
        ],
    }


@pytest.fixture
def proxy(settings: dict[str, Any], tmp_path: Path) -> Iterator[Pullthrough]:
    with Pullthrough(tmp_path / "proxy", settings) as server:
        yield server


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Emulated]:
    """Upstream registries of four kinds, under their own names."""
    with Emulated(ecr_registries.KINDS) as running:
        yield running


@pytest.fixture(scope="module", params=ecr_registries.CHARACTERS)
def administered(
    request: pytest.FixtureRequest, upstreams: Emulated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    with ecr_registries.registry_of(request.param, upstreams, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def registry(administered: Registry) -> Iterator[Registry]:
    """A registry of each character in turn, without rules, templates, repositories and secrets."""
    yield administered
    administered.clear()
