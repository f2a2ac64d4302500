"""Whose requests are answered, by the host that they name; `test_middleware` shows it over the wire."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.config.settings import ServerSettings
from proxy.http.hosts import OwnHosts
from proxy.model.errors import ErrorCode, ProxyError


def request(*hosts: str, path: str = "/v2/") -> web.Request:
    return make_mocked_request("GET", path, CIMultiDict([("Host", host) for host in hosts]))


def refused(hosts: OwnHosts, asked: web.Request) -> bool:
    try:
        hosts.require(asked)
    except ProxyError as error:
        return error.code is ErrorCode.MISDIRECTED
    return False


def test_what_one_server_is_called_another_one_is_not() -> None:
    one, other = OwnHosts(ServerSettings(hosts=("one.test",))), OwnHosts(ServerSettings(hosts=("other.test",)))
    for _ in range(2):  # the second time it is remembered
        assert not refused(one, request("one.test"))
        assert refused(other, request("one.test"))


def test_a_refusal_is_remembered_as_one() -> None:
    hosts = OwnHosts(ServerSettings())
    assert [refused(hosts, request("evil.example")) for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize("host", ["a." * 200 + "localhost", "x" * 10_000])
def test_what_is_longer_than_any_name_is_no_name(host: str) -> None:
    assert refused(OwnHosts(ServerSettings()), request(host))


def test_all_hosts_have_to_be_own() -> None:
    assert refused(OwnHosts(ServerSettings()), request("localhost", "evil.example"))


def test_a_request_without_a_host_is_nobodys() -> None:
    assert refused(OwnHosts(ServerSettings()), request())


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_may_be_asked_by_any_name(path: str) -> None:
    assert not refused(OwnHosts(ServerSettings()), request("evil.example", path=path))
