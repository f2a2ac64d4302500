"""Real clients push, and pull back what they pushed, by its digest."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Catalogue
from tests.support import images, parts
from tests.support.clients import Buildah, Docker, Oras, Podman, Skopeo, shipped
from tests.support.images import Image, digest_of
from tests.support.pullthrough import Pullthrough
from tests.support.pushes import Pusher

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def index() -> Image:
    """Two small images: of a shell that runs, and of data for another architecture."""
    try:
        shell, programs, data = map(images.tree, parts.fetch(["busybox-static", "coreutils", "tzdata"]))
    except parts.UnobtainableError as error:
        parts.unobtainable(f"no content for images: {error}")
    return images.index({"amd64": images.build([shell, programs]), "arm64": images.build([data], architecture="arm64")})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pullthrough]:
    """A registry without upstreams; tags below ``fixed`` are immutable. Each test has repositories of its own."""
    settings = {"registry": {"tags": [{"prefix": "fixed", "mutability": "IMMUTABLE"}]}}
    with Pullthrough(tmp_path_factory.mktemp("registry"), settings) as server:
        yield server


@pytest.fixture
def podman(registry: Pullthrough, folder: Path) -> Podman:
    registries = shipped("registries.conf", port=registry.port, mirror=registry.mirror)
    return Podman(parts.require(parts.PODMAN, root=True), folder / "podman", registries=registries)


@pytest.fixture
def skopeo(registry: Pullthrough, folder: Path) -> Skopeo:
    registries = shipped("registries.conf", port=registry.port, mirror=registry.mirror)
    return Skopeo(parts.require(parts.SKOPEO), folder / "skopeo", registries=registries)


def refusal(repository: str, tag: str) -> str:
    """Return, as a pattern, what clients that meet an immutable tag are told, in ECR's words."""
    return re.escape(
        f"The image tag '{tag}' already exists in the '{repository}' repository "
        "and cannot be overwritten because the tag is immutable."
    )


def mounted(registry: Pullthrough, repository: str) -> int:
    """Return how many blobs were mounted: only a mount ends with the POST that would begin an upload."""
    return len(registry.answered(method="POST", name=repository, status=201))


def test_docker_pushes_and_pulls_back(index: Image, registry: Pullthrough, docker: Docker, tmp_path: Path) -> None:
    image = index.children[0]
    name = f"{registry.address}/docker/tools"
    images.write_archive(image, f"{name}:1", tmp_path / "image.tar")

    docker.load(tmp_path / "image.tar")
    digest = docker.push(f"{name}:1")
    docker.remove(f"{name}:1")

    assert docker.pull(f"{name}@{digest}") == digest
    assert docker.image_id(f"{name}@{digest}") == image.config
    assert docker.output_of(f"{name}@{digest}", "echo", "runs").strip() == "runs"
    docker.remove(f"{name}@{digest}")
    assert docker.pull(f"{name}:1") == digest


def test_docker_mounts_the_layers_that_another_repository_has(
    index: Image, registry: Pullthrough, docker: Docker, tmp_path: Path
) -> None:
    first, second = f"{registry.address}/docker/first:1", f"{registry.address}/docker/second:1"
    images.write_archive(index.children[0], first, tmp_path / "image.tar")
    docker.load(tmp_path / "image.tar")
    docker.tag(first, second)

    digest = docker.push(first)

    assert docker.push(second) == digest
    assert mounted(registry, "docker/second") == len(index.layers)
    docker.remove(first, second)
    assert docker.pull(second) == digest


def test_docker_pushes_what_it_pulled_through_without_sending_a_layer(
    catalogue: Catalogue, proxy: Pullthrough, docker: Docker
) -> None:
    cached, own = f"{proxy.address}/up/team/tools", f"{proxy.address}/own/tools"
    assert docker.pull(f"{cached}:1") == catalogue.image.digest
    docker.tag(f"{cached}:1", f"{own}:1")

    digest = docker.push(f"{own}:1")

    assert mounted(proxy, "own/tools") == len(catalogue.image.layers)
    assert len(proxy.answered(method="PATCH", name="own/tools")) == 1  # the configuration
    docker.remove(f"{cached}:1", f"{own}:1")
    assert docker.pull(f"{own}@{digest}") == digest
    assert docker.image_id(f"{own}@{digest}") == catalogue.image.config


def test_docker_says_why_an_immutable_tag_is_kept(
    index: Image, registry: Pullthrough, docker: Docker, tmp_path: Path
) -> None:
    name = f"{registry.address}/fixed/docker"
    for tag, image in {"1": index.children[0], "2": index.children[1]}.items():
        images.write_archive(image, f"{name}:{tag}", tmp_path / f"{tag}.tar")
        docker.load(tmp_path / f"{tag}.tar")
    digest = docker.push(f"{name}:1")
    assert docker.push(f"{name}:1") == digest

    docker.tag(f"{name}:2", f"{name}:1")
    with pytest.raises(AssertionError, match=f"tag invalid: {refusal('fixed/docker', '1')}"):
        docker.push(f"{name}:1")

    docker.remove(f"{name}:1", f"{name}:2")
    assert docker.pull(f"{name}:1") == digest
    assert docker.image_id(f"{name}:1") == index.children[0].config


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_podman_pushes_and_pulls_back(
    form: str, index: Image, registry: Pullthrough, podman: Podman, tmp_path: Path
) -> None:
    image = index.children[0]
    first, second = f"podman-{form}/first", f"podman-{form}/second"
    reference = f"{registry.address}/{first}"
    images.write_archive(image, "localhost/tools:1", tmp_path / "image.tar")
    podman.load(tmp_path / "image.tar")

    digest = podman.push("localhost/tools:1", f"{reference}:1", f"--format={form}")
    assert podman.push("localhost/tools:1", f"{registry.address}/{second}:1", f"--format={form}") == digest
    podman.remove_all()

    assert podman.pull(f"{reference}@{digest}", "--tls-verify=false") == digest
    manifest = json.loads(Pusher(registry.port, first).manifest(digest).body)
    assert podman.image_id(f"{reference}@{digest}") == manifest["config"]["digest"]
    assert mounted(registry, second) >= len(image.layers)


def test_podman_says_why_an_immutable_tag_is_kept(
    index: Image, registry: Pullthrough, podman: Podman, tmp_path: Path
) -> None:
    reference = f"{registry.address}/fixed/podman:1"
    for name, image in {"first": index.children[0], "second": index.children[1]}.items():
        images.write_archive(image, f"localhost/{name}:1", tmp_path / f"{name}.tar")
        podman.load(tmp_path / f"{name}.tar")
    digest = podman.push("localhost/first:1", reference)

    with pytest.raises(AssertionError, match=f"tag invalid: {refusal('fixed/podman', '1')}"):
        podman.push("localhost/second:1", reference)

    podman.remove_all()
    assert podman.pull(reference, "--tls-verify=false") == digest


def test_skopeo_copies_an_index_with_all_its_images_byte_for_byte(
    index: Image, registry: Pullthrough, skopeo: Skopeo, tmp_path: Path
) -> None:
    images.write_layout(index, "1", tmp_path / "layout")
    reference = f"{registry.address}/skopeo/index"

    pushed = skopeo.push(f"oci:{tmp_path / 'layout'}:1", f"{reference}:1", "--all", "--preserve-digests")
    pulled = skopeo.copy(f"{reference}@{index.digest}", "pulled", "--src-tls-verify=false")

    assert pushed == index.digest
    assert pulled["manifest.json"] == index.manifest
    for image in index.children:
        blobs = {digest.removeprefix("sha256:"): blob for digest, blob in image.blobs.items()}
        assert blobs.items() <= pulled.items()
        assert pulled[f"{image.digest.removeprefix('sha256:')}.manifest.json"] == image.manifest


def test_skopeo_mounts_the_layers_that_another_repository_has(
    index: Image, registry: Pullthrough, skopeo: Skopeo, tmp_path: Path
) -> None:
    images.write_layout(index, "1", tmp_path / "layout")
    first, second = f"{registry.address}/skopeo/first:1", f"{registry.address}/skopeo/second:1"
    skopeo.push(f"oci:{tmp_path / 'layout'}:1", first, "--all", "--preserve-digests")

    options = ["--all", "--preserve-digests", "--src-tls-verify=false"]
    assert skopeo.push(f"docker://{first}", second, *options) == index.digest

    assert mounted(registry, "skopeo/second") == sum(len(image.layers) for image in index.children)
    copied = skopeo.copy(second, "copied", "--src-tls-verify=false")
    assert skopeo.copy(first, "original", "--src-tls-verify=false") == copied


def test_skopeo_copies_docker_images_from_folders_byte_for_byte(
    index: Image, registry: Pullthrough, skopeo: Skopeo, folder: Path
) -> None:
    image = images.as_docker(index.children[0])
    source = folder / "source"
    source.mkdir()
    (source / "version").write_text("Directory Transport Version: 1.1\n")
    (source / "manifest.json").write_bytes(image.manifest)
    for digest, blob in image.blobs.items():
        (source / digest.removeprefix("sha256:")).write_bytes(blob)
    reference = f"{registry.address}/skopeo/docker"

    assert skopeo.push(f"dir:{source}", f"{reference}:1", "--preserve-digests") == image.digest
    assert skopeo.push(f"dir:{source}", f"{reference}:oci", "--format=oci") != image.digest
    as_oci = skopeo.copy(f"{reference}:oci", "oci", "--src-tls-verify=false")
    as_docker = skopeo.copy(f"{reference}@{image.digest}", "docker", "--src-tls-verify=false")

    assert json.loads(as_oci["manifest.json"])["config"]["mediaType"] == images.OCI_CONFIG
    assert as_docker["manifest.json"] == image.manifest
    # The layers are the same bytes; the configuration is written anew.
    assert {layer.removeprefix("sha256:") for layer in image.layers} <= as_docker.keys() & as_oci.keys()


def test_skopeo_says_why_an_immutable_tag_is_kept(
    index: Image, registry: Pullthrough, skopeo: Skopeo, tmp_path: Path
) -> None:
    reference = f"{registry.address}/fixed/skopeo:1"
    for name, image in {"first": index.children[0], "second": index.children[1]}.items():
        images.write_layout(image, "1", tmp_path / name)
    digest = skopeo.push(f"oci:{tmp_path / 'first'}:1", reference)

    with pytest.raises(AssertionError, match=f"tag invalid: {refusal('fixed/skopeo', '1')}"):
        skopeo.push(f"oci:{tmp_path / 'second'}:1", reference)

    assert skopeo.digest(reference, "--tls-verify=false") == digest == index.children[0].digest


def test_buildah_pushes_an_index_that_it_made(registry: Pullthrough, skopeo: Skopeo, folder: Path) -> None:
    toolbox = parts.require(parts.BUILDAH, root=True)
    registries = shipped("registries.conf", port=registry.port, mirror=registry.mirror)
    buildah = Buildah(toolbox, folder / "buildah", registries=registries)
    for architecture in ("amd64", "arm64"):
        (folder / architecture).write_bytes(images.noise(1, 1 << 20) + architecture.encode())
        buildah.build(f"localhost/{architecture}:1", folder / architecture, architecture=architecture)
    reference = f"{registry.address}/buildah/built"

    digest = buildah.push_index(["localhost/amd64:1", "localhost/arm64:1"], f"{reference}:1")
    pulled = skopeo.copy(f"{reference}@{digest}", "pulled", "--src-tls-verify=false")

    assert digest_of(pulled["manifest.json"]) == digest
    entries = json.loads(pulled["manifest.json"])["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
    assert all(digest_of(content) == f"sha256:{name}" for name, content in pulled.items() if len(name) == len("a" * 64))


def test_oras_pushes_files_and_finds_what_is_attached_to_them(registry: Pullthrough, tmp_path: Path) -> None:
    files = {tmp_path / "model.bin": "application/vnd.example.model", tmp_path / "notes.txt": "text/plain"}
    for number, file in enumerate(files):
        file.write_bytes(images.noise(number, 3_000_000))
    (tmp_path / "config.json").write_text('{"of": "the model"}')
    (tmp_path / "bill.json").write_text('{"made": "of parts"}')
    config = (tmp_path / "config.json", "application/vnd.example.config.v1+json")
    pusher = Pusher(registry.port, "oras/model")

    with Oras(registry.address) as oras:
        digest = oras.push("oras/model:1", files, config=config)
        assert oras.push("oras/model:2", files, config=config, chunk=1_000_000) == digest
        pulled = oras.pull(f"oras/model@{digest}", tmp_path / "pulled")
        subject = (images.OCI_MANIFEST, digest, len(pusher.manifest("1").body))
        bill = {tmp_path / "bill.json": "application/vnd.example.bill+json"}
        attached = oras.push("oras/model:bill", bill, subject=subject)

    assert pulled == {file.name: file.read_bytes() for file in files}
    answer = pusher.request("GET", f"/v2/oras/model/referrers/{digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, images.OCI_INDEX)
    assert [found["digest"] for found in json.loads(answer.body)["manifests"]] == [attached]


def test_charts_are_pushed_and_pulled_as_helm_packs_them(registry: Pullthrough, skopeo: Skopeo, tmp_path: Path) -> None:
    chart = images.chart("shop", "1.2.0")
    images.write_layout(chart, "1.2.0", tmp_path / "layout")
    reference = f"{registry.address}/charts/shop:1.2.0"

    assert skopeo.push(f"oci:{tmp_path / 'layout'}:1.2.0", reference, "--preserve-digests") == chart.digest
    with Oras(registry.address) as oras:
        pulled = oras.pull("charts/shop:1.2.0", tmp_path / "pulled")

    assert list(pulled.values()) == [chart.blobs[layer] for layer in chart.layers]
    answer = Pusher(registry.port, "charts/shop").manifest("1.2.0")
    assert (answer.body, answer.headers["Content-Type"]) == (chart.manifest, images.OCI_MANIFEST)
