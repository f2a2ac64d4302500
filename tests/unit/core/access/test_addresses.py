"""What addresses of clients are compared by."""

from ipaddress import ip_address

import pytest

from proxy.core.access.addresses import client_network, parse_address


@pytest.mark.parametrize(
    ("text", "address", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("2001:db8::ffff:1", "2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
    ],
)
def test_an_address_has_one_form_and_one_network(text: str, address: str, network: str) -> None:
    assert parse_address(text) == ip_address(address)
    assert client_network(text) == network


@pytest.mark.parametrize("text", ["", "%", "localhost", "/run/socket", "192.0.2", "192.0.2.1/24", "1" * 10_000])
def test_what_is_no_address_has_no_network(text: str) -> None:
    assert parse_address(text) is None
    assert client_network(text) is None
