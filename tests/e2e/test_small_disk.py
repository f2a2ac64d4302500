"""A store on a disk that is too small: pulls succeed all the same."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import images, parts
from tests.support.docker_registry import DockerRegistry
from tests.support.downloads import Download, download
from tests.support.images import Image, digest_of
from tests.support.processes import run
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20


@pytest.fixture(scope="module")
def large() -> Image:
    return images.of_blobs(b"{}", [images.noise(1, 100 * MIB)])


@pytest.fixture(scope="module")
def small() -> Image:
    return images.of_blobs(b"{ }", [images.noise(2, 10 * MIB)])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    parts.require_root("mounting a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)])
    yield folder
    run(["umount", str(folder)])


@pytest.fixture
def registry(large: Image, small: Image, tmp_path: Path) -> Iterator[DockerRegistry]:
    registry = DockerRegistry(parts.require(parts.REGISTRY), tmp_path / "storage", tmp_path / "upstream")
    registry.start()
    images.push(large, registry.url, "large", "1")
    images.push(small, registry.url, "small", "1")
    yield registry
    registry.stop()


@pytest.mark.parametrize("min_free", ["0", "16 MiB"], ids=["noticed while writing", "foreseen"])
def test_a_blob_larger_than_the_disk_reaches_every_client_and_smaller_ones_are_kept(
    disk: Path, registry: DockerRegistry, large: Image, small: Image, tmp_path: Path, min_free: str
) -> None:
    content = large.blobs[large.layers[0]]
    fitting = small.layers[0]
    settings = {"storage": {"min_free": min_free}, "rules": [{"prefix": "up", "upstream": registry.url}]}
    with (
        Pullthrough(tmp_path / "proxy", settings, store=disk / "store") as proxy,
        ThreadPoolExecutor(3) as clients,
    ):

        def pull(start: int) -> Download:
            return download(
                proxy.port,
                f"/v2/up/large/blobs/{large.layers[0]}",
                content[start:],
                headers={"Range": f"bytes={start}-"} if start else None,
            )

        whole, again, rest = clients.map(pull, (0, 0, 80 * MIB))
        assert (whole.status, whole.received, whole.right) == (200, 100 * MIB, True)
        assert (again.status, again.received, again.right) == (200, 100 * MIB, True)
        assert (rest.status, rest.received, rest.right) == (206, 20 * MIB, True)
        assert large.layers[0] not in proxy.stored()

        kept = download(proxy.port, f"/v2/up/small/blobs/{fitting}", small.blobs[fitting])
        assert (kept.status, kept.received, kept.right) == (200, 10 * MIB, True)
        assert digest_of(proxy.stored()[fitting].read_bytes()) == fitting
        assert proxy.partials() == {}
