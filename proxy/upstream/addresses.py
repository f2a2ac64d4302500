"""Which network addresses an upstream may send us to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from proxy.upstream.kinds import host_fits

Address = IPv4Address | IPv6Address

_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google Cloud, Azure, OpenStack
        "169.254.170.2",  # AWS ECS
        "fd00:ec2::254",  # AWS
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle Cloud
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")


def literal(host: str) -> Address | None:
    """Return the address that `host` spells canonically, or None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def looks_like_address(host: str) -> bool:
    """Tell whether `host` is a spelling that resolvers take for an IPv4 address (127.1, 0x7f000001, 2130706433)."""
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def is_local_name(host: str) -> bool:
    """Tell whether a name can only mean a machine in a private network."""
    return "." not in host or host.endswith(_LOCAL_SUFFIXES)


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 transition address leads to, or `address` itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def is_public(address: Address) -> bool:
    """Tell whether `address` is one of the open internet, and no cloud's metadata service."""
    real = _embedded(address)
    if real in _METADATA or real.is_multicast or not real.is_global:
        return False
    return isinstance(real, IPv4Address) or real in _GLOBAL_UNICAST


def _is_private_network(address: Address) -> bool:
    real = _embedded(address)
    return not (real in _METADATA or real.is_link_local or real.is_multicast or real.is_unspecified)


def matches_name(host: str, pattern: str) -> bool:
    """Tell whether `pattern` is `host`, or ``*.suffix`` with `host` below that suffix."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Say which addresses may be connected to for a host that an upstream named.

    `networks` permit whatever is inside them. `names` (or ``*.suffix``) may be private, but never link-local or a
    metadata service: whoever serves that name's DNS is not trusted with those. `links` are patterns of hosts that a
    private link may serve: as `names`, but never on this machine.
    """

    names: frozenset[str]
    networks: frozenset[IPv4Network | IPv6Network]
    links: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str], links: Iterable[str] = ()) -> "AddressPolicy":
        """Return the policy of `allow_private` entries: host names, ``*.suffix``, addresses and networks."""
        names: set[str] = set()
        networks: set[IPv4Network | IPv6Network] = set()
        for entry in entries:
            try:
                networks.add(ip_network(entry))
            except ValueError:
                names.add(entry)
        return cls(frozenset(names), frozenset(networks), frozenset(links))

    def allows_name(self, host: str) -> bool:
        """Tell whether `host` may be in a private network."""
        return any(matches_name(host, pattern) for pattern in self.names)

    def permits(self, host: str, address: Address) -> bool:
        """Tell whether `host` may be reached at `address`."""
        if is_public(address):
            return True
        if any(address in network or _embedded(address) in network for network in self.networks):
            return True
        if not _is_private_network(address):
            return False
        linked = not _embedded(address).is_loopback and any(host_fits(host, pattern) for pattern in self.links)
        return linked or self.allows_name(host)
