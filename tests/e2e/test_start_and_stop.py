"""Starting with a wrong configuration, stopping in the middle of work."""

import asyncio
import resource
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support import images
from tests.support.aws_clients import Aws
from tests.support.downloads import download
from tests.support.faulty_registry import FaultyRegistry
from tests.support.processes import free_port, listens
from tests.support.pullthrough import PROGRAM, Pullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20
CONTENT = images.noise(7, 8 * MIB)
IMAGE = images.of_blobs(b"{}", [CONTENT])
DIGEST = IMAGE.layers[0]
PATH = f"/v2/up/app/blobs/{DIGEST}"


async def test_a_running_answer_ends_whole_before_the_server_does(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream:
        upstream.add("app", "1", IMAGE)
        proxy = Pullthrough(tmp_path / "proxy", {"rules": [{"prefix": "up", "upstream": upstream.url}]})
        await asyncio.to_thread(proxy.start)
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            received = await answer.content.readexactly(MIB)
            proxy.process.terminate()
            await asyncio.to_thread(proxy.process.wait_until, lambda: not listens(proxy.port), "it stops listening")
            upstream.release()
            received += await answer.read()
        assert received == CONTENT
        assert await asyncio.to_thread(proxy.process.wait, 20) == 0


async def test_a_fill_that_outlasts_the_server_is_resumed_by_the_next_one(tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={DIGEST: 2 * MIB}) as upstream:
        upstream.add("app", "1", IMAGE)
        settings = {"server": {"drain_timeout": "1s"}, "rules": [{"prefix": "up", "upstream": upstream.url}]}
        proxy = Pullthrough(tmp_path / "proxy", settings)
        await asyncio.to_thread(proxy.start)
        async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH) as answer:
            await answer.content.readexactly(MIB)
            answer.close()
        proxy.process.terminate()
        assert await asyncio.to_thread(proxy.process.wait, 20) == 0
        kept = proxy.partials()[DIGEST]
        assert MIB <= kept <= 2 * MIB

        upstream.release()
        await asyncio.to_thread(proxy.start)
        done = await asyncio.to_thread(download, proxy.port, PATH, CONTENT)
        await asyncio.to_thread(proxy.stop)

    assert (done.status, done.right, done.whole) == (200, True, True)
    assert [asked.start for asked in upstream.blob_gets(DIGEST)] == [0, kept]


_RULE = {"prefix": "up", "upstream": "registry.example"}


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        ({"sever": {}}, ["sever"]),
        ({"server": {"prot": 5000}, "rules": [{**_RULE, "upstrem": "x"}]}, ["server.prot", "rules[0].upstrem"]),
        ({"rules": [_RULE, _RULE]}, ["rules[1].prefix"]),
        ({"server": {"host": "0.0.0.0"}}, ["server.host"]),
        ({"rules": [{**_RULE, "credentials": {"username": "u", "password": {"env": "NOT_SET_ANYWHERE"}}}]}, ["env"]),
    ],
    ids=["unknown section", "two unknown keys", "duplicate prefix", "open to the network", "no such secret"],
)
def test_each_fault_of_the_configuration_is_one_line_and_nothing_is_started(
    settings: dict[str, Any], faults: list[str], tmp_path: Path
) -> None:
    lines = refused(tmp_path, settings)

    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert fault in line
    assert not (tmp_path / "store").exists()


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (line,) = refused(tmp_path, {"server": {"port": port}})

    assert f"127.0.0.1:{port} is already in use" in line


def test_a_mirror_port_in_use_stops_the_main_listener_too(tmp_path: Path) -> None:
    main = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"server": {"port": main}, "rules": [_RULE], "mirrors": [{"port": port, "rule": "up"}]}
        (line,) = refused(tmp_path, settings)

    assert f"127.0.0.1:{port} is already in use" in line
    assert not listens(main)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    (line,) = refused(tmp_path, {"storage": {"path": str(tmp_path / "file" / "store")}})

    assert str(tmp_path / "file") in line


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    proxy = Pullthrough(tmp_path / "proxy", {})
    with proxy:
        pass
    with sqlite3.connect(proxy.layout.database) as database:
        database.execute("UPDATE alembic_version SET version_num = 'from the future'")
    database.close()
    before = proxy.layout.database.read_bytes()

    (line,) = refused(tmp_path, {"storage": {"path": str(proxy.layout.root)}})

    assert "newer" in line
    assert proxy.layout.database.read_bytes() == before


def refused(folder: Path, settings: dict[str, Any]) -> list[str]:
    """Return what a server says that does not start, beside the events of its log."""
    file = folder / "refused.yaml"
    document = {"storage": {"path": str(folder / "store")}, "log": {"format": "json"}, **settings}
    document["server"] = {"port": free_port(), **settings.get("server", {})}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    done = subprocess.run(
        [*PROGRAM, "serve", "--config", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return [line for line in done.stderr.splitlines() if line and not line.startswith("{")]


def test_a_start_with_another_key_tells_which_secrets_it_does_not_open(tmp_path: Path) -> None:
    server = Pullthrough(tmp_path / "server", {})
    with server, Aws(server.url) as aws:
        aws.secret("ecr-pullthroughcache/hub", token="hidden")
    key = server.layout.key("secrets")
    key.unlink()
    with server:
        server.process.wait_until(lambda: bool(server.events("secrets.not_readable")), "it says so")
    told = server.events("secrets.not_readable")[0]  # each worker says so
    assert (told["names"], told["level"]) == (["ecr-pullthroughcache/hub"], "error")
    assert "key" in told["remedy"]


def limited(limit: str) -> tuple[str, ...]:
    return "sh", "-c", f'ulimit {limit} && exec "$@"', "sh"


async def test_more_clients_than_there_are_descriptors_for_wait_for_each_other(tmp_path: Path) -> None:
    blobs = [images.noise(number, 1000) for number in range(250)]
    image = images.of_blobs(b"{}", blobs)
    async with FaultyRegistry() as upstream:
        upstream.add("app", "1", image)
        settings = {"rules": [{"prefix": "up", "upstream": upstream.url}]}
        proxy = Pullthrough(tmp_path / "proxy", settings, wrapper=limited("-n 400"))
        await asyncio.to_thread(proxy.start)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(proxy.url, connector=connector) as client:

            async def pull(digest: str) -> bytes:
                async with client.get(f"/v2/up/app/blobs/{digest}") as answer:
                    return await answer.read()

            assert await asyncio.gather(*map(pull, image.layers)) == blobs
        assert {event["connections"] for event in proxy.events("server.few_descriptors")} == {48}
        await asyncio.to_thread(proxy.stop)


def test_a_server_may_have_as_many_descriptors_as_its_clients_take(tmp_path: Path) -> None:
    settings = {"server": {"limits": {"connections": 100}}}
    with Pullthrough(tmp_path / "proxy", settings, wrapper=limited("-Sn 300")) as proxy:
        soft, _ = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        assert soft == 3 * 100 + 256
        assert proxy.events("server.few_descriptors") == []
