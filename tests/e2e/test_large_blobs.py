"""Large blobs that are stored: by sendfile, and over TLS with and without the package of the extra."""

import asyncio
import http.client
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.certificates import Authority
from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import digest_of
from tests.support.processes import run
from tests.support.pullthrough import Pullthrough
from tests.support.tls_pullthrough import TlsPullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20
CONTENT = images.noise(7, 24 * MIB + 77)
IMAGE = images.of_blobs(b"{}", [CONTENT])
DIGEST = IMAGE.layers[0]
PATH = f"/v2/up/app/blobs/{DIGEST}"


class Filled:
    """A server that has the blob, whose upstream is gone."""

    def __init__(self, server: Pullthrough, authority: Authority | None) -> None:
        self.server = server
        self._authority = authority

    def connect(self) -> http.client.HTTPConnection:
        if self._authority is None:
            return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        return http.client.HTTPSConnection(
            "localhost", self.server.port, timeout=60, context=self._authority.trusting()
        )

    def curl(self, *arguments: str) -> list[str]:
        trusting = ["--cacert", str(self._authority.file)] if self._authority is not None else []
        return ["curl", "--silent", "--show-error", "--noproxy", "*", *trusting, *arguments, self.server.url + PATH]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))  # noqa: PTH208 - one entry a descriptor


@pytest.fixture(params=["plain", "tls", "tls without speedups"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    authority = None if request.param == "plain" else Authority(tmp_path / "authority")
    speedups = "off" if "without" in request.param else "auto"
    limits = {"send_timeout": "1s"}
    settings: dict[str, Any] = {"server": {"workers": 1, "speedups": speedups, "limits": limits}}

    async def fill() -> Pullthrough:
        async with FaultyRegistry() as upstream:
            upstream.add("app", "1", IMAGE)
            rules = [{"prefix": "up", "upstream": upstream.url}]
            given = {**settings, "rules": rules}
            folder = tmp_path / "proxy"
            server = TlsPullthrough(folder, given, authority) if authority else Pullthrough(folder, given)
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(run, Filled(server, authority).curl("--output", os.devnull))
            return server

    server = asyncio.run(fill())
    yield Filled(server, authority)
    server.stop()


def test_the_blob_and_its_ranges_arrive_at_clients_side_by_side(filled: Filled, tmp_path: Path) -> None:
    spans = [None, (0, MIB - 1), (MIB - 1, 5 * MIB), (3, 20 * MIB), (24 * MIB, 24 * MIB + 76), None]
    jobs = []
    for number, span in enumerate(spans):
        given = () if span is None else ("--range", f"{span[0]}-{span[1]}")
        file = tmp_path / str(number)
        jobs.append((span, file, subprocess.Popen(filled.curl("--output", str(file), *given))))
    for span, file, job in jobs:
        assert job.wait(60) == 0
        assert file.read_bytes() == (CONTENT if span is None else CONTENT[span[0] : span[1] + 1])
    told = filled.server.answered(reference=DIGEST, broken=None)
    sizes = [len(CONTENT) if span is None else span[1] + 1 - span[0] for span in spans]
    assert sorted(event["bytes"] for event in told) == sorted([*sizes, len(CONTENT)])


def test_clients_that_are_killed_leave_nothing_behind(filled: Filled, tmp_path: Path) -> None:
    counts = []
    for turn in range(1, 4):
        kill_clients(filled, [tmp_path / f"{turn}-{number}" for number in range(8)], 8 * turn)
        assert digest_of(fetched(filled)) == DIGEST
        counts.append(filled.descriptors())
    # Connections to the database come and go by one or two; each client had three descriptors.
    assert counts[-1] < counts[0] + 8


def kill_clients(filled: Filled, files: list[Path], told: int) -> None:
    """Kill clients that have begun to write these files, and wait until the log tells of so many in all."""
    jobs = [subprocess.Popen(filled.curl("--output", str(file), "--limit-rate", "1M")) for file in files]
    filled.server.process.wait_until(lambda: all(map(begun, files)), "all have begun")
    for job in jobs:
        job.kill()
        job.wait(10)
    filled.server.process.wait_until(lambda: len(filled.server.answered(broken="client left")) == told, "it is told")


def begun(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def test_a_client_that_takes_nothing_is_left(filled: Filled) -> None:
    connection = filled.connect()
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.request("GET", PATH)
    filled.server.process.wait_until(lambda: bool(filled.server.answered(broken="slow client")), "it is left")
    [told] = filled.server.events("connection.stalled")
    assert told["client"] == "127.0.0.1"
    connection.close()


def test_a_file_that_is_cut_short_completes_no_answer(filled: Filled) -> None:
    connection = filled.connect()
    connection.request("GET", PATH)
    answer = connection.getresponse()
    received = answer.read(MIB)
    os.truncate(filled.server.stored()[DIGEST], 20 * MIB)
    try:
        received += answer.read()
    except http.client.IncompleteRead as error:
        received += error.partial
    except (ConnectionError, ssl.SSLError):
        pass
    connection.close()
    assert len(received) <= 20 * MIB
    assert CONTENT.startswith(received)
    filled.server.process.wait_until(lambda: len(filled.server.answered(broken="aborted")) == 1, "it is told")


def test_an_answer_that_is_under_way_is_finished_after_sigterm(filled: Filled) -> None:
    connection = filled.connect()
    connection.request("GET", PATH)
    answer = connection.getresponse()
    received = answer.read(MIB)
    filled.server.process.terminate()
    filled.server.process.wait_until(lambda: bool(filled.server.events("server.draining")), "it drains")
    assert received + answer.read() == CONTENT
    connection.close()
    assert filled.server.process.wait(30) in {0, -signal.SIGTERM}


def fetched(filled: Filled) -> bytes:
    connection = filled.connect()
    try:
        connection.request("GET", PATH)
        return connection.getresponse().read()
    finally:
        connection.close()
