"""Real clients pull through the proxy, and again, with empty stores, when the upstream is gone."""

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.conftest import Catalogue
from tests.support import parts
from tests.support.clients import Containerd, Docker, Podman, Skopeo, shipped
from tests.support.docker_registry import DockerRegistry
from tests.support.images import Image, digest_of
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e


def objects(image: Image) -> set[str]:
    """Return everything that a client on amd64 needs of the image, by digest."""
    return {image.digest, image.children[0].digest, *image.children[0].blobs}


def test_docker_pulls_by_prefix(
    catalogue: Catalogue, upstream: DockerRegistry, proxy: Pullthrough, folder: Path
) -> None:
    toolbox = parts.require(parts.DOCKER, root=True)
    reference = f"localhost:{proxy.port}/up/team/tools:1"

    with Docker(toolbox, folder / "first") as docker:
        assert docker.pull(reference) == catalogue.image.digest
        assert docker.image_id(reference) == catalogue.image.config
        assert docker.output_of(reference, "echo", "runs").strip() == "runs"
    assert upstream.blob_gets() == Counter(catalogue.image.children[0].blobs.keys())

    upstream.stop()
    with Docker(toolbox, folder / "second") as docker:
        assert docker.pull(reference) == catalogue.image.digest
        assert docker.image_id(reference) == catalogue.image.config
    assert {event["cache"] for event in proxy.answered(reference="1")[-1:]} == {"stale"}


def test_docker_pulls_through_the_mirror(
    catalogue: Catalogue, hub: DockerRegistry, proxy: Pullthrough, folder: Path
) -> None:
    toolbox = parts.require(parts.DOCKER, root=True)
    configuration = shipped("daemon.json", port=proxy.port, mirror=proxy.mirror)

    with Docker(toolbox, folder / "first", configuration=configuration) as docker:
        assert docker.pull("tools:1") == catalogue.image.digest
        assert docker.image_id("tools:1") == catalogue.image.config
    assert objects(catalogue.image) <= proxy.references()
    assert {event["rule"] for event in proxy.answered(name="library/tools")} == {"docker-hub"}

    hub.stop()
    with Docker(toolbox, folder / "second", configuration=configuration) as docker:
        assert docker.pull("tools:1") == catalogue.image.digest
        assert docker.image_id("tools:1") == catalogue.image.config


def test_containerd_pulls_every_object_through_its_hosts_file(
    catalogue: Catalogue, hub: DockerRegistry, proxy: Pullthrough, folder: Path
) -> None:
    toolbox = parts.require(parts.CONTAINERD, root=True)
    hosts = shipped("hosts.toml", port=proxy.port, mirror=proxy.mirror)

    with Containerd(toolbox, folder / "first", hosts=hosts) as containerd:
        assert containerd.pull("docker.io/library/tools:1") == catalogue.image.digest
    asked = proxy.answered(ns="docker.io")
    assert {event["reference"] for event in asked} == {"1", *objects(catalogue.image)}
    assert {event["status"] for event in asked} == {200}
    assert hub.blob_gets() == Counter(catalogue.image.children[0].blobs.keys())

    hub.stop()
    with Containerd(toolbox, folder / "second", hosts=hosts) as containerd:
        assert containerd.pull("docker.io/library/tools:1") == catalogue.image.digest
    again = proxy.answered(ns="docker.io")[len(asked) :]
    assert {event["reference"] for event in again} == {"1", *objects(catalogue.image)}
    assert {event["cache"] for event in again} == {"hit"}


def test_podman_pulls_through_its_registries_file(
    catalogue: Catalogue, hub: DockerRegistry, proxy: Pullthrough, folder: Path
) -> None:
    toolbox = parts.require(parts.PODMAN, root=True)
    registries = shipped("registries.conf", port=proxy.port, mirror=proxy.mirror)

    podman = Podman(toolbox, folder / "first", registries=registries)
    assert podman.pull("docker.io/library/tools:1") == catalogue.image.digest
    # By its tag podman has the index itself: it does not ask for that digest again.
    assert objects(catalogue.image) - {catalogue.image.digest} <= proxy.references()

    hub.stop()
    podman = Podman(toolbox, folder / "second", registries=registries)
    assert podman.pull("docker.io/library/tools:1") == catalogue.image.digest


def test_skopeo_inspects_and_copies_all_architectures(
    catalogue: Catalogue, upstream: DockerRegistry, proxy: Pullthrough, folder: Path
) -> None:
    registries = shipped("registries.conf", port=proxy.port, mirror=proxy.mirror)
    skopeo = Skopeo(parts.require(parts.SKOPEO), folder / "skopeo", registries=registries)
    reference = f"{proxy.address}/up/team/tools:1"
    expected = {
        digest.removeprefix("sha256:"): blob
        for child in catalogue.image.children
        for digest, blob in child.blobs.items()
    }

    assert skopeo.digest(reference, "--tls-verify=false") == catalogue.image.digest
    first = skopeo.copy(reference, "first", "--src-tls-verify=false")
    assert first["manifest.json"] == catalogue.image.manifest
    assert expected.items() <= first.items()
    assert upstream.blob_gets() == Counter(f"sha256:{encoded}" for encoded in expected)

    upstream.stop()
    assert skopeo.copy(reference, "second", "--src-tls-verify=false") == first
    assert skopeo.digest("docker.io/library/tools:1", "--no-tags") == catalogue.image.digest


def test_what_is_stored_is_what_the_names_say(catalogue: Catalogue, proxy: Pullthrough, folder: Path) -> None:
    registries = shipped("registries.conf", port=proxy.port, mirror=proxy.mirror)
    skopeo = Skopeo(parts.require(parts.SKOPEO), folder / "skopeo", registries=registries)

    skopeo.copy(f"{proxy.address}/up/team/tools:1", "copy", "--src-tls-verify=false")

    stored = proxy.stored()
    assert {digest for child in catalogue.image.children for digest in child.blobs} <= stored.keys()
    assert all(digest_of(path.read_bytes()) == digest for digest, path in stored.items())
    assert proxy.partials() == {}
