from ipaddress import ip_address

import pytest

from proxy.upstream.addresses import AddressPolicy, is_local_name, is_public, looks_like_address

V4 = """
    0.0.0.0 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.0.1 169.254.169.254 172.31.0.1 192.168.1.1
    192.0.2.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 168.63.129.16 192.0.0.192
"""
V6 = """
    :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1 ::ffff:10.0.0.1 ::10.0.0.1
    64:ff9b::7f00:1 2002:7f00:1:: 2001:0:4136:e378:8000:63bf:f5ff:fffe
"""


@pytest.mark.parametrize("text", (V4 + V6).split())
def test_private_addresses_however_they_are_dressed(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not AddressPolicy.of(()).permits("host.example", ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    ("entries", "host", "address", "permitted"),
    [
        (["10.0.0.0/8"], "x.example", "10.1.2.3", True),
        (["10.0.0.0/8"], "x.example", "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "x.example", "192.168.0.1", False),
        (["10.1.2.3"], "x.example", "10.1.2.3", True),
        (["169.254.169.254"], "x.example", "169.254.169.254", True),
        (["fd00::/8"], "x.example", "fd00::1", True),
        (["x.example"], "x.example", "10.0.0.1", True),
        (["x.example"], "x.example", "127.0.0.1", True),
        (["x.example"], "x.example", "169.254.169.254", False),
        (["x.example"], "x.example", "fd00:ec2::254", False),
        (["x.example"], "y.example", "10.0.0.1", False),
        (["*.example"], "x.example", "10.0.0.1", True),
        (["*.example"], "example", "10.0.0.1", False),
        (["*.example"], "badexample", "10.0.0.1", False),
    ],
)
def test_the_operator_permits_networks_and_names(
    entries: list[str], host: str, address: str, *, permitted: bool
) -> None:
    assert AddressPolicy.of(entries).permits(host, ip_address(address)) is permitted


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "1.2.3.4.5", "a.1"]
)
def test_spellings_of_addresses_that_resolvers_understand(host: str) -> None:
    assert looks_like_address(host)


@pytest.mark.parametrize("host", ["example.com", "1.example", "0x.example", "x0"])
def test_names_are_no_addresses(host: str) -> None:
    assert not looks_like_address(host)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("intranet", True),
        ("metadata.google.internal", True),
        ("printer.local", True),
        ("example.com", False),
    ],
)
def test_names_that_are_local_everywhere(host: str, *, local: bool) -> None:
    assert is_local_name(host) is local
