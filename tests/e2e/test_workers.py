"""Several worker processes that serve as one server."""

import asyncio
import os
import resource
import select
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import boto3
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import images
from tests.support.downloads import Download, download
from tests.support.faulty_registry import FaultyRegistry
from tests.support.processes import listens
from tests.support.pullthrough import PROGRAM, Pullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20
WORKERS = 3
CONTENT = images.noise(11, 8 * MIB)
IMAGE = images.of_blobs(b"{}", [CONTENT])
DIGEST = IMAGE.layers[0]
PATH = f"/v2/up/app/blobs/{DIGEST}"


def workers_of(proxy: Pullthrough) -> set[int]:
    """Return the processes that serve, by their process ids."""
    pid = proxy.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def answering(proxy: Pullthrough) -> dict[str, bool]:
    """Return which workers a scrape found, by their numbers."""
    with urllib.request.urlopen(f"{proxy.url}/metrics", timeout=10) as answer:  # noqa: S310 - loopback only
        text = answer.read().decode()
    return {
        sample.labels["worker"]: sample.value == 1
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "pullthrough_worker_up"
    }


def all_serve(proxy: Pullthrough) -> bool:
    found = answering(proxy)
    return len(found) >= WORKERS and all(found[str(slot)] for slot in range(WORKERS))


@asynccontextmanager
async def serving(folder: Path, upstream: FaultyRegistry, **more: Any) -> AsyncIterator[Pullthrough]:  # noqa: ANN401 - sections of the configuration
    upstream.add("app", "1", IMAGE)
    rules = [{"prefix": "up", "upstream": upstream.url, "ns": True}]
    # A path of its own, since workers meet at sockets, whose paths must be short: a test's folder may be too deep.
    with TemporaryDirectory(prefix="workers-") as temporary:
        (folder / "temporary").symlink_to(temporary)
        proxy = Pullthrough(
            folder / "proxy",
            {"server": {"workers": WORKERS}, "rules": rules, **more},
            environment={**os.environ, "TMPDIR": temporary},
        )
        await asyncio.to_thread(proxy.start)
        try:
            await asyncio.to_thread(proxy.process.wait_until, lambda: all_serve(proxy), "all workers serve")
            yield proxy
        finally:
            await asyncio.to_thread(proxy.stop)


async def test_cold_clients_of_all_workers_share_one_upstream_transfer(tmp_path: Path) -> None:
    async with FaultyRegistry(pace=16 * MIB) as upstream, serving(tmp_path, upstream) as proxy:

        def pull(_: int) -> Download:
            return download(proxy.port, PATH, CONTENT)

        with ThreadPoolExecutor(24) as clients:
            loop = asyncio.get_running_loop()
            done = await asyncio.gather(*(loop.run_in_executor(clients, pull, number) for number in range(24)))
        assert {(one.status, one.whole, one.right) for one in done} == {(200, True, True)}
        assert len(upstream.blob_gets(DIGEST)) == 1


async def test_metrics_tell_each_worker_apart(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream, serving(tmp_path, upstream) as proxy:
        assert await asyncio.to_thread(answering, proxy) == {str(slot): True for slot in range(WORKERS)}


async def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream, serving(tmp_path, upstream) as proxy:
        before = workers_of(proxy)
        await kill(proxy, {min(before)})
        assert len(before & workers_of(proxy)) == WORKERS - 1
        done = await asyncio.to_thread(download, proxy.port, PATH, CONTENT)
        assert (done.status, done.right) == (200, True)


async def kill(proxy: Pullthrough, workers: set[int]) -> None:
    """End workers as a crash does, and return when others serve in their place."""
    for pid in workers:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        now = workers_of(proxy)
        return now.isdisjoint(workers) and len(now) == WORKERS and all_serve(proxy)

    await asyncio.to_thread(proxy.process.wait_until, replaced, "the workers are replaced")


async def test_hup_reloads_every_worker_in_place_while_a_fill_goes_on(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream, serving(tmp_path, upstream) as proxy:
        before = workers_of(proxy)
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            document = yaml.safe_load(proxy.file.read_text())
            document["rules"].append({"prefix": "more", "upstream": upstream.url})
            proxy.file.write_text(yaml.safe_dump(document))
            os.kill(proxy.process.pid, signal.SIGHUP)

            def reloaded() -> bool:
                return len(proxy.events("config.reloaded")) == WORKERS

            await asyncio.to_thread(proxy.process.wait_until, reloaded, "all workers reloaded")
            upstream.release()
            received += await answer.read()
        assert received == CONTENT
        assert workers_of(proxy) == before
        answers = await asyncio.gather(*(_status(proxy, "/v2/more/app/manifests/1") for _ in range(12)))
        assert set(answers) == {200}
        assert len(upstream.blob_gets(DIGEST)) == 1


async def _status(proxy: Pullthrough, path: str) -> int:
    # A connection of its own, so that any worker may take it.
    async with aiohttp.ClientSession(proxy.url) as client, client.get(path) as answer:
        return answer.status


async def test_a_rule_made_through_one_worker_is_in_force_for_the_next_request_to_any(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream, serving(tmp_path, upstream) as proxy:
        ecr = boto3.client(
            "ecr",
            endpoint_url=proxy.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        for number in range(10):
            made = {"ecrRepositoryPrefix": f"made{number}", "upstreamRegistryUrl": upstream.url}
            await asyncio.to_thread(ecr.create_pull_through_cache_rule, **made)
            path = f"/v2/made{number}/app/manifests/1"
            assert set(await asyncio.gather(*(_status(proxy, path) for _ in range(6)))) == {200}
        await asyncio.to_thread(ecr.close)


async def test_usr2_replaces_all_workers_and_cuts_nothing_off(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream, serving(tmp_path, upstream) as proxy:
        before = workers_of(proxy)
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            os.kill(proxy.process.pid, signal.SIGUSR2)

            def asked_to_end() -> bool:
                return len(proxy.events("server.draining")) == WORKERS

            await asyncio.to_thread(proxy.process.wait_until, asked_to_end, "the old workers are asked to end")
            await look_again(proxy, before)
            assert await _status(proxy, "/v2/up/app/manifests/1") == 200
            upstream.release()
            received += await answer.read()
        assert received == CONTENT

        def alone() -> bool:
            return workers_of(proxy).isdisjoint(before) and list(answering(proxy).values()) == [True] * (WORKERS + 1)

        await asyncio.to_thread(proxy.process.wait_until, alone, "the old workers have ended, and nobody misses them")


async def look_again(proxy: Pullthrough, before: set[int]) -> None:
    """Have the supervisor look twice more at the workers: each time it starts another, or ends one."""
    for number, present in ((signal.SIGTTIN, 1), (signal.SIGTTIN, 2), (signal.SIGTTOU, 1)):
        os.kill(proxy.process.pid, number)

        def there(present: int = present) -> bool:
            return len(workers_of(proxy) - before) == WORKERS + present

        await asyncio.to_thread(proxy.process.wait_until, there, "the supervisor has looked")


async def test_a_worker_taken_away_ends_what_it_is_at(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream, serving(tmp_path, upstream) as proxy:
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            for gone in range(1, WORKERS):
                os.kill(proxy.process.pid, signal.SIGTTOU)

                def leaving(gone: int = gone) -> bool:
                    return len(proxy.events("server.draining")) == gone

                await asyncio.to_thread(proxy.process.wait_until, leaving, "one leaves")
            os.kill(proxy.process.pid, signal.SIGTTIN)

            def back() -> bool:
                return sum(answering(proxy).values()) >= 2

            await asyncio.to_thread(proxy.process.wait_until, back, "one is back")
            upstream.release()
            received += await answer.read()
        assert received == CONTENT


async def test_a_worker_that_cannot_be_started_again_ends_no_other(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream, serving(tmp_path, upstream) as proxy:
        before = workers_of(proxy)
        with few_files(proxy):
            os.kill(min(before), signal.SIGKILL)
            await asyncio.to_thread(proxy.process.wait_until, lambda: fails(proxy, 2), "it was tried twice")
            assert workers_of(proxy) & before == before - {min(before)}
            assert await _status(proxy, "/v2/up/app/manifests/1") == 200
        await asyncio.to_thread(proxy.process.wait_until, lambda: all_serve(proxy), "the third serves again")


async def test_workers_that_cannot_be_started_take_nobody_s_place(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream, serving(tmp_path, upstream) as proxy:
        before = workers_of(proxy)
        with few_files(proxy):
            os.kill(proxy.process.pid, signal.SIGUSR2)
            await asyncio.to_thread(proxy.process.wait_until, lambda: fails(proxy, 2 * WORKERS), "all were tried twice")
            assert before <= workers_of(proxy)
            assert await _status(proxy, "/v2/up/app/manifests/1") == 200

        def replaced() -> bool:
            return workers_of(proxy).isdisjoint(before) and len(workers_of(proxy)) == WORKERS

        await asyncio.to_thread(proxy.process.wait_until, replaced, "new workers are in their place")


@contextmanager
def few_files(proxy: Pullthrough) -> Iterator[None]:
    """Let workers that are started now have too few file descriptors to serve with."""
    _, most = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
    usual = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (16, most))
    try:
        yield
    finally:
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, usual)


def fails(proxy: Pullthrough, times: int) -> bool:
    return len(proxy.events("worker.failed") + proxy.events("worker.not_started")) >= times


async def test_a_new_worker_obeys_what_was_valid_last_while_the_file_is_at_fault(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream, serving(tmp_path, upstream) as proxy:
        document = yaml.safe_load(proxy.file.read_text())
        document["rules"] = [{"prefix": "other", "upstream": upstream.url}]
        proxy.file.write_text(yaml.safe_dump(document))

        def told(event: str) -> bool:
            return len(proxy.events(event)) == WORKERS

        await asyncio.to_thread(proxy.process.wait_until, lambda: told("config.reloaded"), "all workers reloaded")
        await kill(proxy, {min(workers_of(proxy))})
        proxy.file.write_text("rules: [")
        await asyncio.to_thread(proxy.process.wait_until, lambda: told("config.reload_failed"), "all saw the fault")
        await kill(proxy, workers_of(proxy))
        assert {await _status(proxy, "/v2/other/app/manifests/1") for _ in range(12)} == {200}
        assert {await _status(proxy, "/v2/up/app/manifests/1") for _ in range(12)} == {404}


async def test_workers_may_be_told_to_end_as_often_as_one_likes(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream, serving(tmp_path, upstream) as proxy:
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            for times in (1, 2):
                # As systemd does by itself (KillMode=control-group): the supervisor tells them, too.
                for pid in (*workers_of(proxy), proxy.process.pid)[: WORKERS + 2 - times]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)

                def told(times: int = times) -> bool:
                    return len(proxy.events("server.signalled")) > times

                await asyncio.to_thread(proxy.process.wait_until, told, "they are told")
            upstream.release()
            received += await answer.read()
        assert received == CONTENT
        assert await asyncio.to_thread(proxy.process.wait, 20) == 0


async def test_a_second_term_ends_the_drain(tmp_path: Path) -> None:
    async with (
        FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream,
        serving(tmp_path, upstream) as proxy,
        aiohttp.ClientSession(proxy.url) as client,
        client.get(PATH) as answer,
    ):
        await answer.content.readexactly(MIB)
        proxy.process.terminate()
        await asyncio.to_thread(proxy.process.wait_until, lambda: not listens(proxy.port), "it stops listening")
        proxy.process.terminate()
        assert await asyncio.to_thread(proxy.process.wait, 20) == 0


async def test_term_lets_running_answers_end_whole(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream, serving(tmp_path, upstream) as proxy:
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            proxy.process.terminate()
            await asyncio.to_thread(proxy.process.wait_until, lambda: not listens(proxy.port), "it stops listening")
            upstream.release()
            received += await answer.read()
        assert received == CONTENT
        assert await asyncio.to_thread(proxy.process.wait, 20) == 0


async def test_workers_end_when_nobody_supervises_them_any_more(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream, serving(tmp_path, upstream) as proxy:
        workers = workers_of(proxy)
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            # Killed, not asked: it passes nothing on.
            await asyncio.to_thread(proxy.process.kill)
            await asyncio.wait_for(asyncio.to_thread(wait_for_silence, proxy.port), 20)
            upstream.release()
            received += await answer.read()
        assert received == CONTENT
        await asyncio.wait_for(asyncio.to_thread(wait_for_the_end_of, workers), 20)
        assert list((tmp_path / "temporary").iterdir()) == []


def wait_for_silence(port: int) -> None:
    """Return once nothing accepts connections on this port."""
    while listens(port):
        pass


def wait_for_the_end_of(processes: set[int]) -> None:
    """Return once none of the processes is there; they are no children of the test, which could wait for them."""
    for pid in processes:
        with suppress(ProcessLookupError):
            select.select([os.pidfd_open(pid)], [], [])


def test_a_folder_where_workers_cannot_meet_is_told_at_the_start(tmp_path: Path) -> None:
    proxy = Pullthrough(tmp_path / "proxy", {"server": {"workers": WORKERS}})
    far = tmp_path / ("far" * 40)
    far.mkdir()
    ended = subprocess.run(
        [*PROGRAM, "serve", "--config", str(proxy.file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TMPDIR": str(far)},
    )
    assert (ended.returncode, list(far.iterdir())) == (2, [])
    assert "set TMPDIR to another" in ended.stderr


def test_what_keeps_a_server_from_starting_is_told_once(tmp_path: Path) -> None:
    proxy = Pullthrough(tmp_path / "proxy", {"server": {"workers": WORKERS}})
    with socket.create_server(("127.0.0.1", proxy.port)):
        ended = subprocess.run(
            [*PROGRAM, "serve", "--config", str(proxy.file)], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 2
    assert ended.stderr.count("is already in use") == 1
