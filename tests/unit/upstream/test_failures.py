import asyncio
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from proxy.upstream.retries import ATTEMPTS
from tests.support.clock import FakeClock
from tests.support.upstream_dns import Lookup
from tests.support.upstream_registry import FakeRegistry, Storage, TokenServer, manifest_bytes
from tests.support.upstream_rules import LATEST, counted, failure_of, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing
from tests.support.virtual_hosts import Handler
from tests.unit.upstream.conftest import Opener

REGISTRY = "registry.example.com"
REMOTE = remote_of(REGISTRY)
CONTENT = answering(200, manifest_bytes(), content_type=OCI_MANIFEST)


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (answering(400), UpstreamFailure.GARBAGE),
        (answering(401), UpstreamFailure.DENIED),
        (answering(403, b"blocked"), UpstreamFailure.DENIED),
        (answering(405), UpstreamFailure.UNSUPPORTED),
        (answering(408), UpstreamFailure.TIMEOUT),
        (answering(425), UpstreamFailure.SERVER_ERROR),
        (answering(429, b"<html>slow down</html>", content_type="text/html"), UpstreamFailure.RATE_LIMITED),
        (answering(500), UpstreamFailure.SERVER_ERROR),
        (answering(504), UpstreamFailure.SERVER_ERROR),
    ],
)
async def test_statuses_mean_what_they_say(
    client: UpstreamClient, server: UpstreamServer, handler: Handler, failure: UpstreamFailure
) -> None:
    server.script(REGISTRY, handler)
    assert (await failure_of(client, REMOTE)).failure is failure


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"Retry-After": "7"}, "", 7.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, "", 30.0),
        ({"Retry-After": "Tuesday, 14-Nov-23 22:13:50 GMT"}, "", 30.0),
        ({"Retry-After": "99999999"}, "", 86400.0),
        ({"Retry-After": "1m30s"}, "", 90.0),
        ({}, "retry-after: 1.5s, allowed: 44000/minute", 1.5),
        ({}, "retry-after: 1h1m1.5s, allowed: 44000/minute", 3661.5),
        ({}, "Retry After 90000ms", 90.0),
    ],
)
async def test_the_time_to_wait_is_read_from_header_or_message(
    client: UpstreamClient, server: UpstreamServer, headers: Mapping[str, str], message: str, seconds: float
) -> None:
    server.script(REGISTRY, failing(429, "TOOMANYREQUESTS", message, headers))
    assert (await failure_of(client, REMOTE)).retry_after == seconds


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Retry-After": "0"}, ""),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}, ""),
        ({"Retry-After": "soon"}, ""),
        ({"Retry-After": "-1"}, ""),
        ({}, "retry-after: 880.092\u00b5s, allowed: 44000/minute"),
        ({}, "retry-after: 12ns"),
        ({}, "retry-after: in 5 minutes"),
        ({}, "Rate exceeded"),
        ({}, ""),
    ],
)
async def test_a_time_that_is_absent_senseless_or_tiny_is_a_second_or_so(
    client: UpstreamClient, server: UpstreamServer, headers: Mapping[str, str], message: str
) -> None:
    server.script(REGISTRY, failing(429, "TOOMANYREQUESTS", message, headers))
    waits = {(await failure_of(client, REMOTE)).retry_after for _ in range(4)}
    assert all(wait is not None and 1 <= wait <= 1.5 for wait in waits)
    assert len(waits) > 1  # those who were refused together come back apart


async def test_docker_hub_without_a_time_is_left_alone_for_a_minute(
    client: UpstreamClient, server: UpstreamServer
) -> None:
    server.script("registry-1.docker.io", failing(429, "TOOMANYREQUESTS", "You have reached your pull rate limit."))
    wait = (await failure_of(client, remote_of("docker.io", "library/nginx"), retry=True)).retry_after
    assert wait is not None
    assert 60 <= wait <= 90
    assert len(server.journal) == 1


async def test_no_body_of_an_upstream_gets_into_a_message(client: UpstreamClient, server: UpstreamServer) -> None:
    for status in (400, 401, 403, 404, 429, 500):
        server.script(REGISTRY, failing(status, "CODE", "internal-secret"), times=1)
        error = await failure_of(client, REMOTE)
        assert "internal-secret" not in f"{error.message} {error.debug}"


async def test_an_endless_error_body_is_not_read_to_its_end(client: UpstreamClient, server: UpstreamServer) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=404)
        response.enable_chunked_encoding()
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(b" " * 65536)
        return response

    server.script(REGISTRY, endless)
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.GARBAGE


class TestConnecting:
    async def test_a_closed_port_is_unreachable(self, connect: Opener, metrics: Metrics) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            client = await connect(connect_to={REGISTRY: f"127.0.0.1:{unused.getsockname()[1]}"})
            assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.UNREACHABLE
        labels = {"rule": "up", "kind": "manifest", "status": "unreachable"}
        assert counted(metrics, "pullthrough_upstream_requests_total", **labels) == 1

    async def test_a_name_that_does_not_exist_is_unreachable(self, connect: Opener) -> None:
        error = await failure_of(await connect(Lookup([]), connect_to={}), REMOTE)
        assert error.failure is UpstreamFailure.UNREACHABLE
        assert "cannot be resolved" in error.message

    async def test_a_certificate_of_strangers_is_refused_and_the_key_named(self, connect: Opener) -> None:
        error = await failure_of(await connect(ca_file=None), REMOTE)
        assert error.failure is UpstreamFailure.UNREACHABLE
        assert "`ca_file`" in error.message

    async def test_a_rule_may_have_its_own_authorities(self, server: UpstreamServer, connect: Opener) -> None:
        server.script(REGISTRY, CONTENT)
        client = await connect(ca_file=None)
        await client.get_manifest(remote_of(REGISTRY, ca_file=server.ca_file), LATEST, retry=False)
        assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.UNREACHABLE

    @pytest.mark.parametrize("content", [None, b"no certificate"])
    async def test_a_file_of_authorities_that_cannot_be_used_is_named(
        self, connect: Opener, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "authorities.pem"
        if content is not None:
            path.write_bytes(content)
        error = await failure_of(await connect(), remote_of(REGISTRY, ca_file=path))
        assert error.failure is UpstreamFailure.UNREACHABLE
        assert str(path) in error.message

    async def test_plain_http_to_a_tls_port_is_no_registry(self, server: UpstreamServer, connect: Opener) -> None:
        error = await failure_of(await connect(), remote_of(f"http://{REGISTRY}:{server.port}"))
        assert error.failure in {UpstreamFailure.UNREACHABLE, UpstreamFailure.GARBAGE}

    async def test_something_that_speaks_no_http_is_garbage(self, connect: Opener) -> None:
        async def mumble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n\r\n")
            await writer.drain()
            writer.close()

        mute = await asyncio.start_server(mumble, "127.0.0.1", 0)
        async with mute:
            client = await connect()
            remote = remote_of(f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}")
            assert (await failure_of(client, remote)).failure is UpstreamFailure.GARBAGE

    @pytest.mark.usefixtures("silent_registry")
    async def test_headers_that_never_come_time_out(self, connect: Opener) -> None:
        client = await connect(header_timeout=timedelta(milliseconds=50))
        assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.TIMEOUT

    @pytest.mark.usefixtures("silent_registry")
    async def test_the_budget_bounds_everything_together(self, connect: Opener) -> None:
        client = await connect(budget=timedelta(milliseconds=80))
        assert (await failure_of(client, REMOTE, retry=True)).failure is UpstreamFailure.TIMEOUT


class TestOffline:
    async def test_no_request_is_made_for_an_offline_rule(self, client: UpstreamClient, server: UpstreamServer) -> None:
        remote = remote_of(REGISTRY, offline=True)
        digest = Digest.of(b"")
        assert (await failure_of(client, remote)).failure is UpstreamFailure.OFFLINE
        for request in (
            client.head_manifest(remote, LATEST, retry=True),
            client.head_blob(remote, digest),
            client.list_tags(remote),
            client.list_referrers(remote, digest),
            client.open_blob(remote, digest).__aenter__(),
        ):
            with pytest.raises(UpstreamError) as caught:
                await request
            assert caught.value.failure is UpstreamFailure.OFFLINE
        assert server.journal == []

    async def test_no_request_is_made_when_the_server_is_offline(self, server: UpstreamServer, connect: Opener) -> None:
        assert (await failure_of(await connect(offline=True), REMOTE)).failure is UpstreamFailure.OFFLINE
        assert server.journal == []


class TestRetries:
    async def test_a_passing_failure_is_not_seen(
        self, client: UpstreamClient, server: UpstreamServer, pauses: list[float]
    ) -> None:
        server.script(REGISTRY, answering(503), times=ATTEMPTS - 1)
        server.script(REGISTRY, CONTENT)
        await client.get_manifest(REMOTE, LATEST, retry=True)
        assert pauses == [0.5, 1.0, 2.0]

    async def test_attempts_end(self, client: UpstreamClient, server: UpstreamServer) -> None:
        server.script(REGISTRY, answering(503))
        assert (await failure_of(client, REMOTE, retry=True)).failure is UpstreamFailure.SERVER_ERROR
        assert len(server.journal) == ATTEMPTS

    async def test_nothing_is_repeated_unless_permitted(self, client: UpstreamClient, server: UpstreamServer) -> None:
        server.script(REGISTRY, answering(503))
        await failure_of(client, REMOTE)
        assert len(server.journal) == 1

    @pytest.mark.parametrize("handler", [answering(404), answering(403), failing(401, "UNAUTHORIZED"), answering(400)])
    async def test_what_will_not_pass_is_not_repeated(
        self, client: UpstreamClient, server: UpstreamServer, handler: Handler
    ) -> None:
        server.script(REGISTRY, handler)
        await failure_of(client, REMOTE, retry=True)
        assert len(server.journal) == 1

    async def test_a_rate_without_a_time_is_tried_again_more_and_more_slowly(
        self, client: UpstreamClient, server: UpstreamServer, pauses: list[float]
    ) -> None:
        server.script(REGISTRY, answering(429))
        assert (await failure_of(client, REMOTE, retry=True)).failure is UpstreamFailure.RATE_LIMITED
        assert len(server.journal) == ATTEMPTS
        assert all(pause >= least for pause, least in zip(pauses, (1, 1, 2), strict=True))

    @pytest.mark.parametrize(("wait", "attempts"), [("3", 2), ("60", 1)])
    async def test_retry_after_is_honoured_if_it_fits_the_budget(
        self, client: UpstreamClient, server: UpstreamServer, pauses: list[float], *, wait: str, attempts: int
    ) -> None:
        for status in (429, 503):
            server.script(REGISTRY, answering(status, headers={"Retry-After": wait}), times=1)
            server.script(REGISTRY, CONTENT, times=attempts - 1)
            if attempts == 1:
                await failure_of(client, REMOTE, retry=True)
            else:
                await client.get_manifest(REMOTE, LATEST, retry=True)
        assert pauses == [3.0, 3.0][: 2 * (attempts - 1)]


class TestBreaker:
    async def test_a_host_that_keeps_failing_is_left_alone_and_tried_again_once(
        self, server: UpstreamServer, connect: Opener, clock: FakeClock, metrics: Metrics
    ) -> None:
        client = await connect(breaker_failures=3)
        server.script(REGISTRY, answering(500), times=4)
        server.script(REGISTRY, CONTENT)
        for _ in range(3):
            assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.SERVER_ERROR
        assert counted(metrics, "pullthrough_breaker_open", host=REGISTRY) == 1
        error = await failure_of(client, REMOTE)
        assert error.failure is UpstreamFailure.CIRCUIT_OPEN
        assert error.retry_after == 30.0
        clock.advance(31)
        assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.SERVER_ERROR
        assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.CIRCUIT_OPEN
        assert len(server.journal) == 4
        clock.advance(31)
        await client.get_manifest(REMOTE, LATEST, retry=False)
        assert counted(metrics, "pullthrough_breaker_open", host=REGISTRY) == 0
        await client.get_manifest(REMOTE, LATEST, retry=False)

    async def test_only_one_request_probes(self, server: UpstreamServer, connect: Opener, clock: FakeClock) -> None:
        client = await connect(breaker_failures=1)
        server.script(REGISTRY, answering(500), times=1)
        await failure_of(client, REMOTE)
        clock.advance(31)
        arrived, released = asyncio.Event(), asyncio.Event()

        async def slow(request: web.BaseRequest) -> web.StreamResponse:
            arrived.set()
            await released.wait()
            return await CONTENT(request)

        server.script(REGISTRY, slow)
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(client.get_manifest(REMOTE, LATEST, retry=False))
            await arrived.wait()
            assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.CIRCUIT_OPEN
            released.set()
        assert probe.result().raw

    async def test_a_probe_that_is_given_up_lets_the_next_one_try(
        self, server: UpstreamServer, connect: Opener, clock: FakeClock
    ) -> None:
        client = await connect(breaker_failures=1)
        server.script(REGISTRY, answering(500), times=1)
        await failure_of(client, REMOTE)
        clock.advance(31)
        arrived = asyncio.Event()

        async def hanging(_: web.BaseRequest) -> web.StreamResponse:
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

        server.script(REGISTRY, hanging, times=1)
        server.script(REGISTRY, CONTENT)
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(client.get_manifest(REMOTE, LATEST, retry=False))
            await arrived.wait()
            probe.cancel()
        await client.get_manifest(REMOTE, LATEST, retry=False)

    @pytest.mark.parametrize("status", [401, 403, 404, 429, 501])
    async def test_answers_that_are_no_illness_do_not_count(
        self, server: UpstreamServer, connect: Opener, status: int
    ) -> None:
        client = await connect(breaker_failures=2)
        server.script(REGISTRY, answering(status))
        for _ in range(4):
            assert (await failure_of(client, REMOTE)).failure is not UpstreamFailure.CIRCUIT_OPEN

    async def test_a_success_in_between_starts_the_count_again(self, server: UpstreamServer, connect: Opener) -> None:
        client = await connect(breaker_failures=2)
        for _ in range(3):
            server.script(REGISTRY, answering(502), times=1)
            server.script(REGISTRY, CONTENT, times=1)
            assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.SERVER_ERROR
            await client.get_manifest(REMOTE, LATEST, retry=False)


async def test_transfers_leave_room_for_manifests(server: UpstreamServer, client: UpstreamClient) -> None:
    data = b"x" * (8 << 20)
    registry = FakeRegistry(server, REGISTRY)
    digest = registry.put_blob(data)
    registry.put_manifest("team/app", "latest", manifest_bytes())
    remote = remote_of(REGISTRY, max_connections=2)

    async def read() -> bytes:
        async with client.open_blob(remote, digest) as body:
            return b"".join([chunk async for chunk in body.chunks()])

    async with asyncio.TaskGroup() as group, client.open_blob(remote, digest):
        second = group.create_task(read())
        await client.get_manifest(remote, LATEST, retry=False)
        assert len(server.visits(REGISTRY, containing="/blobs/")) == 1
    assert second.result() == data


async def test_logs_hold_no_secrets(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "pass-word")
    tokens = TokenServer(server, "auth.example.com", clock, "registry", accounts={"alice": "pass-word"})
    storage = Storage(server, "storage.example.net", clock)
    digest = FakeRegistry(server, REGISTRY, tokens, storage).put_blob(b"data")
    remote = remote_of(REGISTRY, credentials=UserPassword("alice", SecretSource(env="PASSWORD")))
    with capture_logs() as events:
        async with client.open_blob(remote, digest) as body:
            assert [chunk async for chunk in body.chunks()] == [b"data"]
        server.script(
            REGISTRY, failing(401, "X", headers={"WWW-Authenticate": 'Bearer realm="https://evil.test/?k=v"'})
        )
        with pytest.raises(UpstreamError):
            await client.list_tags(remote)
    answered = [event for event in events if event["event"] == "upstream.answered"]
    assert [event["kind"] for event in answered] == ["blob", "token", "blob", "blob", "tags", "tags"]
    assert {"rule", "kind", "method", "host", "status", "ms"} <= answered[0].keys()
    assert [event["host"] for event in events if event["event"] == "upstream.target_refused"] == ["evil.test"]
    for secret in ("pass-word", "token-auth", "sig=", "?", "Bearer", "Basic"):
        assert secret not in repr(events)
