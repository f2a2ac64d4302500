"""Many clients, one upstream transfer."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import images, parts
from tests.support.docker_registry import DockerRegistry
from tests.support.downloads import Download, download
from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import Image
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[DockerRegistry, Image]]:
    """A docker-registry with an image whose only layer has 200 MB."""
    image = images.of_blobs(b"{}", [images.noise(200, 200_000_000)])
    registry = DockerRegistry(parts.require(parts.REGISTRY), tmp_path / "storage", tmp_path / "upstream")
    registry.start()
    images.push(image, registry.url, "large", "1")
    yield registry, image
    registry.stop()


def test_fifty_cold_clients_of_two_servers_cost_one_upstream_transfer(
    large: tuple[DockerRegistry, Image], tmp_path: Path
) -> None:
    registry, image = large
    digest = image.layers[0]
    content = image.blobs[digest]
    settings = {"rules": [{"prefix": "up", "upstream": registry.url}]}
    store = tmp_path / "store"

    with (
        Pullthrough(tmp_path / "one", settings, store=store) as one,
        Pullthrough(tmp_path / "two", settings, store=store) as two,
        ThreadPoolExecutor(50) as clients,
    ):

        def pull(number: int) -> Download:
            port = (one, two)[number % 2].port
            leave_after = len(content) // 10 if number == 0 else None
            return download(port, f"/v2/up/large/blobs/{digest}", content, leave_after=leave_after)

        first, *others = clients.map(pull, range(50))

    assert (first.status, first.received, first.right) == (200, len(content) // 10, True)
    assert {(done.status, done.received, done.right) for done in others} == {(200, len(content), True)}
    assert registry.blob_gets()[digest] == 1
    assert one.stored()[digest].stat().st_size == len(content)
    assert one.partials() == {}


@pytest.mark.parametrize("chunk", [MIB, 3 * MIB + 17])
async def test_open_ended_ranges_of_a_running_fill_are_each_answered_with_their_part(
    chunk: int, tmp_path: Path
) -> None:
    # containerd asks bytes=0-, then each chunk as bytes=N-, hanging up when it has its chunk. An answer of 200 to one
    # of these would corrupt the layer.
    content = images.noise(chunk, 16 * MIB)
    image = images.of_blobs(b"{}", [content])
    digest = image.layers[0]
    async with FaultyRegistry(pace=64 * MIB) as upstream:
        upstream.add("app", "1", image)
        settings = {"rules": [{"prefix": "up", "upstream": upstream.url}]}
        with Pullthrough(tmp_path / "proxy", settings) as proxy, ThreadPoolExecutor(16) as clients:

            def part(start: int) -> Download:
                return download(
                    proxy.port,
                    f"/v2/up/app/blobs/{digest}",
                    content[start:],
                    headers={"Range": f"bytes={start}-"},
                    leave_after=chunk,
                )

            starts = range(0, len(content), chunk)
            loop = asyncio.get_running_loop()
            done = await asyncio.gather(*(loop.run_in_executor(clients, part, start) for start in starts))
            await upstream.sent(len(content))

    for start, answer in zip(starts, done, strict=True):
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{len(content) - 1}/{len(content)}"
        assert int(answer.headers["Content-Length"]) == len(content) - start
        assert (answer.received, answer.right) == (min(chunk, len(content) - start), True)
    assert [asked.range for asked in upstream.blob_gets(digest)] == [None]
