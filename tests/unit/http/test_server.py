"""Listeners: addresses, refusals to start, sockets, and the way out."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import MirrorSettings, ServerSettings
from proxy.http.listening import StartError
from proxy.http.server import Server
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import exchange, parse

BLOB = b"x" * 4096


def server(stack: Stack, *mirrors: MirrorSettings, drain: float = 60) -> Server:
    settings = ServerSettings(port=0, drain_timeout=timedelta(seconds=drain))
    return Server(stack.serving(settings), mirrors)


async def test_all_listeners_answer_and_tell_their_addresses(stack: Stack) -> None:
    async with server(stack, MirrorSettings(port=0, rule="quay"), MirrorSettings(port=0, rule="docker-hub")) as running:
        addresses = [running.address, *running.mirror_addresses.values()]
        assert len({port for _, port in addresses}) == 3
        assert list(running.mirror_addresses) == ["quay", "docker-hub"]
        for address in addresses:
            assert (await exchange(address, "GET /v2/")).status == 200


async def test_the_end_leaves_no_listener(stack: Stack) -> None:
    async with server(stack) as running:
        address = running.address
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_a_port_in_use_is_told_in_one_sentence_and_leaves_nothing_open(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        starting = server(stack, MirrorSettings(port=port, rule="quay"))
        with pytest.raises(StartError, match=rf"^127\.0\.0\.1:{port} is already in use: [^.]*$"):
            await starting.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*starting.address)


async def test_an_address_of_another_machine_is_told(stack: Stack) -> None:
    starting = Server(stack.serving(ServerSettings(host="192.0.2.1", port=0)))
    with pytest.raises(StartError, match=r"192\.0\.2\.1:0 is no address of this machine"):
        await starting.start()


def test_the_slow_parser_is_refused() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from proxy.http.server import require_fast_parser as check; check()"],
        env=os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StartError: aiohttp runs without its C parser" in found.stderr


async def test_unsent_bytes_in_the_kernel_are_bounded(stack: Stack) -> None:
    async with server(stack) as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        [connection] = running.connections
        accepted = connection.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 128 << 10
        writer.close()


async def test_running_answers_end_while_new_connections_are_refused(stack: Stack) -> None:
    digest = stack.upstream.hold_blob(BLOB)
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    running = server(stack)
    await running.start()
    reader, writer = await asyncio.open_connection(*running.address)
    writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = await reader.readuntil(b"x" * 1024)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.stop())
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*running.address)
        for _ in range(3):
            stack.upstream.gate.release()
        received += await reader.read()
    answer = parse(received)
    assert answer.body == BLOB
    writer.close()


async def test_what_does_not_end_in_time_is_cut_off(stack: Stack) -> None:
    digest = stack.upstream.hold_blob(BLOB)
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    running = server(stack, drain=0.01)
    await running.start()
    reader, writer = await asyncio.open_connection(*running.address)
    writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = await reader.readuntil(b"x" * 1024)
    with capture_logs() as logs:
        await running.stop()
    received += await reader.read()
    assert not parse(received).complete
    assert [entry["running"] for entry in logs if entry["event"] == "server.drain_incomplete"] == [1]
    assert [entry["broken"] for entry in logs if entry["event"] == "request.answered"] == ["cut off"]
    writer.close()


async def test_a_signal_ends_the_wait_and_a_second_one_the_drain(stack: Stack) -> None:
    digest = stack.upstream.hold_blob(BLOB)
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    async with server(stack, drain=600) as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"x" * 1024)
        running.heed()
        os.kill(os.getpid(), signal.SIGTERM)
        await running.wait()
        os.kill(os.getpid(), signal.SIGTERM)
    writer.close()


async def test_a_signal_may_come_again_where_another_ends_the_drain(stack: Stack) -> None:
    digest = stack.upstream.hold_blob(BLOB)
    stack.upstream.gate, stack.upstream.chunk = asyncio.Semaphore(1), 1024
    async with server(stack, drain=600) as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = await reader.readuntil(b"x" * 1024)
        running.heed((signal.SIGTERM,), hurrying=(signal.SIGQUIT,))
        os.kill(os.getpid(), signal.SIGTERM)
        await running.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(running.stop())
            os.kill(os.getpid(), signal.SIGTERM)
            stack.upstream.gate.release()
            received += await reader.readuntil(b"x" * 1024)
            os.kill(os.getpid(), signal.SIGQUIT)
        received += await reader.read()
    assert not parse(received).complete
    writer.close()
