"""The server is killed, and the order of its writes is the order that survives it."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.model.digest import Digest
from tests.support import images, parts
from tests.support.downloads import Download, download
from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import Image, digest_of
from tests.support.pullthrough import Pullthrough
from tests.support.traces import finished

pytestmark = pytest.mark.e2e

MIB = 1 << 20
KILLS = 20
LAYERS = 3
SIZE = 2 * MIB
BATCH = MIB  # `fills.batch`


def made_up(seed: int) -> Image:
    content = images.noise(seed, LAYERS * SIZE)
    return images.of_blobs(content[:100], [content[start : start + SIZE] for start in range(0, len(content), SIZE)])


async def pull(proxy: Pullthrough, image: Image) -> dict[str, Download]:
    """Get the blobs of the image, all at the same time."""
    paths = {digest: f"/v2/up/app/blobs/{digest}" for digest in image.blobs}
    running = [asyncio.to_thread(download, proxy.port, path, image.blobs[digest]) for digest, path in paths.items()]
    return dict(zip(paths, await asyncio.gather(*running), strict=True))


def moments(upstream: FaultyRegistry, proxy: Pullthrough) -> list[Callable[[Image], Awaitable[None]]]:
    """Return what to wait for before each kill: a number of bytes in the fills, the first file in the commits."""
    source = random.Random(9)  # noqa: S311 - moments, not secrets

    def after(count: int) -> Callable[[Image], Awaitable[None]]:
        async def wait(_: Image) -> None:
            await upstream.sent(sum(asked.sent for asked in upstream.journal) + count)

        return wait

    def committed(number: int) -> Callable[[Image], Awaitable[None]]:
        async def wait(image: Image) -> None:
            while len(image.blobs.keys() & proxy.stored().keys()) < number:  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0)

        return wait

    in_fills = [after(source.randrange(1, LAYERS * SIZE)) for _ in range(KILLS - 6)]
    in_commits = [committed(number) for number in (1, 2, 3, 2, 3, 4)]
    return source.sample(in_fills + in_commits, KILLS)


async def test_a_server_killed_at_any_moment_loses_nothing_and_serves_nothing_half(tmp_path: Path) -> None:
    async with FaultyRegistry(pace=16 * MIB) as upstream:
        settings = {"rules": [{"prefix": "up", "upstream": upstream.url}]}
        proxy = Pullthrough(tmp_path / "proxy", settings)
        await asyncio.to_thread(proxy.start)
        resumed = 0
        for number, moment in enumerate(moments(upstream, proxy)):
            image = made_up(number)
            upstream.add("app", str(number), image)
            pulling = asyncio.ensure_future(pull(proxy, image))  # noqa: TID251 - awaited below, a task of this test
            await moment(image)
            proxy.kill()
            interrupted = await pulling

            assert all(done.right for done in interrupted.values())
            stored = proxy.stored()
            assert all(digest_of(path.read_bytes()) == digest for digest, path in stored.items())
            kept = {digest: size for digest, size in proxy.partials().items() if digest not in stored}

            await asyncio.to_thread(proxy.start)
            # What was asked before the kill has reached the upstream by now.
            before = {digest: len(upstream.blob_gets(digest)) for digest in image.blobs}
            complete = await pull(proxy, image)

            assert all(done.status == 200 and done.right and done.whole for done in complete.values())
            for digest, blob in image.blobs.items():
                again = [asked.start for asked in upstream.blob_gets(digest)[before[digest] :]]
                there = len(blob) if digest in stored else min(kept.get(digest, 0), len(blob))
                # Bytes are written first and recorded then: a kill in between costs the batch that was not recorded.
                assert len(again) <= (digest not in stored), f"kill {number}"
                assert len(again) == 1 or there == len(blob), f"kill {number}"
                assert all(there - BATCH <= start <= there for start in again), f"kill {number}"
                resumed += sum(start > 0 for start in again)
        proxy.stop()

    assert resumed >= KILLS // 2
    assert proxy.partials() == {}
    assert all(digest_of(path.read_bytes()) == digest for digest, path in proxy.stored().items())


async def test_a_blob_is_on_disk_before_its_name_and_its_name_before_the_database_knows_it(tmp_path: Path) -> None:
    toolbox = parts.require(parts.STRACE)
    trace = tmp_path / "trace"
    calls = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2"
    strace = [toolbox.program("strace"), "-D", "-f", "-y", "-s", "16", f"--trace={calls}", f"--output={trace}"]
    image = made_up(0)
    digest = image.layers[0]
    async with FaultyRegistry() as upstream:
        upstream.add("app", "1", image)
        settings = {"rules": [{"prefix": "up", "upstream": upstream.url}]}
        proxy = Pullthrough(tmp_path / "proxy", settings, wrapper=strace, environment=toolbox.environment())
        await asyncio.to_thread(proxy.start)
        done = await asyncio.to_thread(download, proxy.port, f"/v2/up/app/blobs/{digest}", image.blobs[digest])
        await asyncio.to_thread(proxy.stop)
    assert (done.status, done.right, done.whole) == (200, True, True)

    lines = finished(trace.read_text())
    part, blob = proxy.layout.part(Digest.parse(digest)), proxy.layout.blob(Digest.parse(digest))
    written = [n for n, line in enumerate(lines) if re.match(r"p?write", line) and f"<{part}>" in line]
    flushed = [n for n, line in enumerate(lines) if re.match(r"fd?a?t?a?sync", line) and f"<{part}>" in line]
    renamed = [n for n, line in enumerate(lines) if line.startswith("rename") and f'"{blob}"' in line]
    listed = [n for n, line in enumerate(lines) if line.startswith("fsync") and f"<{blob.parent}>" in line]
    recorded = [
        n for n, line in enumerate(lines) if re.match(r"fd?a?t?a?sync", line) and f"<{proxy.layout.database}" in line
    ]
    assert written
    assert renamed
    assert max(written) < min(n for n in flushed if n > max(written)) < renamed[0]
    named = min(n for n in listed if n > renamed[0])
    assert any(n > named for n in recorded)
