"""Addresses of clients: what they are compared by, and what all those of one client have in common."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

# One customer gets at least this many bits of an IPv6 address for all of its machines (RFC 6177 §2), so whoever has
# one address has 2^64 of them.
_IPV6_PREFIX: Final = 64


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a connection comes from, None for a text that is none.

    An IPv4 address is one also where a socket for IPv6 took it (``::ffff:192.0.2.1``); zones count for nothing.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_network(text: str) -> str | None:
    """Return the network that is one client's: an IPv4 address, or the /64 of an IPv6 one; None as `parse_address`."""
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX), strict=False))
    return None if address is None else str(address)
