"""Hosts and ports as URLs write them."""

import pytest

from proxy.model.hosts import authority, is_everywhere, is_loopback


@pytest.mark.parametrize(
    ("host", "expected"), [("registry.test", "registry.test:80"), ("192.0.2.1", "192.0.2.1:80"), ("::1", "[::1]:80")]
)
def test_an_ipv6_address_stands_in_brackets(host: str, expected: str) -> None:
    assert authority(host, 80) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.test", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "expected"), [("0.0.0.0", True), ("::", True), ("", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_an_address_of_no_machine_means_all_of_this_one(host: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_everywhere(host) is expected
