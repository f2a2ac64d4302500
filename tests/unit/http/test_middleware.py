"""Around every request: ids, log events, metrics, errors, hosts."""

import json
from dataclasses import replace

import pytest
from pytest_aiohttp.plugin import AiohttpClient
from structlog.testing import capture_logs

from proxy.config.settings import ServerSettings
from proxy.http.application import build_application
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX
from proxy.telemetry.request_log import LineRequestLog
from tests.unit.http.conftest import Client, Stack
from tests.unit.http.raw import exchange

INDEX = b'{"schemaVersion":2,"manifests":[]}'
PATH = "/v2/docker-hub/library/nginx/manifests/latest"


@pytest.fixture(autouse=True)
def content(stack: Stack) -> None:
    stack.upstream.hold("library/nginx", INDEX, OCI_INDEX, "latest")


async def test_one_event_tells_of_a_request(client: Client) -> None:
    with capture_logs() as logs:
        await client.get(
            f"{PATH}?token=hidden",
            headers={
                "User-Agent": "containerd/2.1 " + "x" * 500,
                "Authorization": "Basic c2VjcmV0",
                "X-Request-ID": "r-1",
            },
        )
    [event] = [entry for entry in logs if entry["event"] == "request.answered"]
    assert event["log_level"] == "info"
    expected = {
        "method": "GET",
        "kind": "manifest",
        "name": "docker-hub/library/nginx",
        "reference": "latest",
        "rule": "docker-hub",
        "cache": "miss",
        "status": 200,
        "bytes": len(INDEX),
        "client": "127.0.0.1",
        "request_id": "r-1",
        "ns": None,
        "broken": None,
    }
    assert expected.items() <= event.items()
    assert event["ms"] >= event["ttfb_ms"] >= 0
    assert len(event["user_agent"]) == 200
    assert "hidden" not in str(logs)
    assert "c2VjcmV0" not in str(logs)


async def test_a_user_agent_that_is_no_utf8_fails_no_request(stack: Stack, aiohttp_client: AiohttpClient) -> None:
    written: list[bytes] = []
    services = replace(stack.services, request_log=LineRequestLog(lambda _: True, written.append))
    client = await aiohttp_client(build_application(services, mirror=None))
    answer = await exchange((client.host, client.port or 0), "GET /v2/", fields="User-Agent: x\udce9y\r\n")
    assert answer.status == 200
    assert [json.loads(line)["user_agent"] for line in written] == ["x\\udce9y"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_checks_are_logged_for_debugging_only(client: Client, path: str) -> None:
    with capture_logs() as logs:
        await client.get(path)
    assert {entry["log_level"] for entry in logs} == {"debug"}


async def test_requests_are_counted_by_kind_and_outcome(client: Client, stack: Stack) -> None:
    await client.get(PATH)
    await client.get(PATH)
    await client.head(PATH)
    sample = stack.services.metrics.registry.get_sample_value
    labels = {"route": "manifest", "method": "GET", "status": "200"}
    assert sample("pullthrough_requests_total", labels | {"cache": "miss"}) == 1
    assert sample("pullthrough_requests_total", labels | {"cache": "hit"}) == 1
    assert sample("pullthrough_request_seconds_count", {"route": "manifest"}) == 3
    assert sample("pullthrough_bytes_total", {"flow": "client"}) == 2 * len(INDEX)


async def test_metrics_have_no_labels_that_clients_make(client: Client) -> None:
    address = (client.host, client.port or 0)
    await exchange(address, "GET /v2/quay/some-name/manifests/some-tag")
    await exchange(address, "PROPFIND /v2/")
    rendered = await (await client.get("/metrics")).text()
    assert 'method="OTHER"' in rendered
    assert "some-name" not in rendered
    assert "some-tag" not in rendered


@pytest.mark.parametrize("given", ["r-1", "4bf92f3577b34da6", "a/b:c=+"])
async def test_the_id_of_a_request_is_echoed(client: Client, given: str) -> None:
    answer = await client.get("/v2/", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", '"><script>', "\u00e9"])
async def test_an_id_outside_the_grammar_is_replaced(client: Client, given: str) -> None:
    answer = await exchange((client.host, client.port or 0), "GET /v2/", fields=f"X-Request-ID: {given}\r\n")
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 16


@pytest.mark.parametrize("path", ["/v2/", "/nowhere", PATH, "/metrics", "/v2/quay/a/manifests/none"])
async def test_every_answer_has_an_id_and_the_version_of_the_api(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers["X-Request-ID"]
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.headers["Server"] == "pullthrough"


async def test_an_unknown_exception_is_500_without_details(client: Client, stack: Stack) -> None:
    stack.upstream.failure = LookupError("secret detail")  # type: ignore[assignment] # an upstream that breaks its word
    with capture_logs() as logs:
        answer = await client.get(PATH)
    assert answer.status == 500
    assert answer.headers.getall("Content-Type") == ["application/json"]
    assert (await answer.json())["errors"][0]["code"] == "UNKNOWN"
    assert "secret detail" not in await answer.text()
    assert [entry["exc_info"] for entry in logs if entry["event"] == "request.failed"]


async def test_the_headers_of_an_error_go_out(client: Client, stack: Stack) -> None:
    stack.upstream.failure = UpstreamError(UpstreamFailure.RATE_LIMITED, "registry-1.docker.io: 429", retry_after=7)
    answer = await client.get(PATH)
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 7
    assert (await answer.json())["errors"][0]["code"] == "TOOMANYREQUESTS"


async def test_an_error_to_head_has_no_body(client: Client) -> None:
    answer = await client.head("/v2/quay/a/manifests/none")
    assert answer.status == 404
    assert int(answer.headers["Content-Length"]) > 0
    assert await answer.read() == b""


async def test_paths_outside_every_route_are_json_errors_too(client: Client) -> None:
    for target in ("OPTIONS *", "GET /v2/a%0Ab/tags/list", "GET /metrics/x"):
        answer = await exchange((client.host, client.port or 0), target)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")


LOCAL = ["localhost", "localhost:5000", "LOCALHOST.", "x.localhost:80", "127.0.0.1", "127.9.9.9:1", "[::1]:5000"]
OTHERS = [
    "evil.example",
    "evil.example:5000",
    "localhost.evil.example",
    "10.0.0.1",
    "",
    "localhost@evil.example",
    "[::2]",
]


@pytest.mark.parametrize("host", LOCAL)
async def test_loopback_names_are_answered(client: Client, host: str) -> None:
    assert (await exchange((client.host, client.port or 0), "GET /v2/", host=host)).status == 200


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize("path", ["/v2/", PATH, "/metrics"])
async def test_other_hosts_are_misdirected(client: Client, stack: Stack, host: str, path: str) -> None:
    answer = await exchange((client.host, client.port or 0), f"GET {path}", host=host)
    assert answer.status == 421
    assert b'"MISDIRECTED"' in answer.body
    assert stack.upstream.requests == []


async def test_the_host_of_an_absolute_target_counts_too(client: Client) -> None:
    answer = await exchange((client.host, client.port or 0), "GET http://evil.example/v2/")
    assert answer.status == 421


async def test_every_one_of_several_hosts_counts(client: Client) -> None:
    answer = await exchange((client.host, client.port or 0), "GET /v2/", fields="Host: evil.example\r\n")
    assert answer.status in {400, 421}


async def test_health_is_answered_for_any_host(client: Client) -> None:
    assert (await exchange((client.host, client.port or 0), "GET /livez", host="10.0.0.7")).status == 200


@pytest.mark.parametrize("host", ["registry.test", "Registry.Test:443", "cache.test:5000", "10.1.2.3"])
async def test_configured_hosts_are_answered(stack: Stack, aiohttp_client: AiohttpClient, host: str) -> None:
    server = ServerSettings(host="10.1.2.3", hosts=("registry.test",), public_url="https://cache.test:8443/")
    client = await aiohttp_client(build_application(stack.serving(server), mirror=None))
    assert (await exchange((client.host, client.port or 0), "GET /v2/", host=host)).status == 200


async def test_an_open_registry_answers_for_every_host(stack: Stack, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(build_application(replace(stack.services, guarded=False), mirror=None))
    assert (await exchange((client.host, client.port or 0), "GET /v2/", host="anything.example")).status == 200
