"""What reverse proxies say counts from those that are trusted, and only when it is exactly what it should be."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from pytest_aiohttp.plugin import AiohttpClient
from structlog.testing import capture_logs

from proxy.config.settings import ServerSettings
from proxy.http.application import build_application
from proxy.http.forwarded import TrustedProxies
from tests.unit.http.conftest import Stack

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])


def request(peer: str | None, *fields: tuple[str, str], host: str = "registry:5000") -> web.Request:
    made = make_mocked_request("GET", "/", CIMultiDict([("Host", host), *fields]))
    return made.clone(remote=peer) if peer is not None else made


def client(peer: str, *values: str) -> str | None:
    return PROXIES.client(request(peer, *(("X-Forwarded-For", value) for value in values)))


@pytest.mark.parametrize(
    "peer", ["203.0.113.9", "127.0.0.1", "11.0.0.1", "192.0.2.8", "::1", "::ffff:10.0.0.1", "unix"]
)
def test_others_cannot_say_anything(peer: str) -> None:
    fields = [
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    ]
    assert PROXIES.client(request(peer, *fields)) == peer
    assert PROXIES.origin(request(peer, *fields)) is None


def test_without_trust_nobody_is_believed() -> None:
    asked = request("127.0.0.1", ("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-Host", "a.example"))
    assert (TrustedProxies(()).client(asked), TrustedProxies(()).origin(asked)) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "10.1.1.1"),
        (["198.51.100.1"], "198.51.100.1"),
        ([" 198.51.100.1 "], "198.51.100.1"),
        (["2001:DB8::1"], "2001:db8::1"),
        # What stands before the client was written by the client.
        (["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1, 198.51.100.1, 10.2.2.2,192.0.2.7"], "198.51.100.1"),
        (["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        (["198.51.100.1, unknown"], "10.1.1.1"),
        (["198.51.100.1, , 10.2.2.2"], "10.2.2.2"),
        (["198.51.100.1:4711"], "10.1.1.1"),
        (["[2001:db8::1]"], "10.1.1.1"),
        (["<script>"], "10.1.1.1"),
        ([""], "10.1.1.1"),
    ],
)
def test_the_client_is_the_last_on_the_way_that_is_no_proxy(values: list[str], expected: str) -> None:
    assert client("10.1.1.1", *values) == expected


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        ([], None),
        ([("X-Forwarded-For", "198.51.100.1")], None),
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "reg.example")], "https://reg.example"),
        ([("X-Forwarded-Proto", "https")], "https://registry:5000"),
        ([("X-Forwarded-Host", "reg.example:8443")], "http://reg.example:8443"),
        ([("X-Forwarded-Host", "[2001:db8::1]:8443")], "http://[2001:db8::1]:8443"),
    ],
)
def test_the_origin_is_put_together_of_what_is_told(fields: list[tuple[str, str]], origin: str | None) -> None:
    assert PROXIES.origin(request("10.1.1.1", *fields)) == origin


@pytest.mark.parametrize("value", ["", "ftp", "HTTPS", "https, http", "https ", "https://", "javascript"])
def test_a_scheme_that_is_none_is_not_there(value: str) -> None:
    assert PROXIES.origin(request("10.1.1.1", ("X-Forwarded-Proto", value))) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a, b",
        "a/b",
        "user@a",
        "a:0",
        "a:99999",
        "a:",
        "a b",
        "-a",
        "a?",
        "a#",
        "[::1",
        "::1",
        "a\\b",
        "\u0391.example",
    ],
)
def test_a_host_that_is_none_is_not_there(value: str) -> None:
    assert PROXIES.origin(request("10.1.1.1", ("X-Forwarded-Host", value))) is None


@pytest.mark.parametrize(("name", "values"), [("Host", ("a.example", "b.example")), ("Proto", ("https", "https"))])
def test_what_is_told_twice_is_not_there(name: str, values: tuple[str, str]) -> None:
    assert PROXIES.origin(request("10.1.1.1", *((f"X-Forwarded-{name}", value) for value in values))) is None


def test_no_origin_is_made_of_a_host_that_is_none() -> None:
    assert PROXIES.origin(request("10.1.1.1", ("X-Forwarded-Proto", "https"), host="a b")) is None


@pytest.mark.parametrize(("proxies", "expected"), [(("127.0.0.1",), "198.51.100.1"), ((), "127.0.0.1")])
async def test_the_log_names_the_client(
    stack: Stack, aiohttp_client: AiohttpClient, proxies: tuple[str, ...], expected: str
) -> None:
    services = stack.serving(ServerSettings(port=0, trusted_proxies=proxies))
    client = await aiohttp_client(build_application(services, mirror=None))
    with capture_logs() as logs:
        await client.get("/v2/", headers={"X-Forwarded-For": "198.51.100.1"})
    assert [entry["client"] for entry in logs if entry["event"] == "request.answered"] == [expected]
