"""Where hosts are connected to: the operator's map, DNS, and the policy for hosts that an upstream named."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.upstream.addresses import AddressPolicy, literal

_SHOWN: Final = 100


class RefusedAddressError(OSError):
    """A name resolved to addresses that the policy forbids."""


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """An address or name, and a port, to connect to instead."""

    address: str
    port: int


def parse_connect_to(entries: Mapping[str, str]) -> dict[str, ConnectTo]:
    """Return the map ``host`` or ``host:port`` → ``address:port``; an IPv6 address may stand in brackets."""
    parsed = {}
    for host, target in entries.items():
        address, _, port = target.rpartition(":")
        parsed[host.lower().rstrip(".")] = ConnectTo(address.removeprefix("[").removesuffix("]"), int(port))
    return parsed


class Resolver(AbstractResolver):
    """Resolve a host once for each connection; what is returned is what is connected to.

    Checking here, and not before, is what defeats a DNS server that answers differently the second time. Hosts of
    the operator's map are exempt from `policy`; with None every address is permitted.
    """

    def __init__(
        self, connect_to: Mapping[str, ConnectTo], policy: AddressPolicy | None, lookup: AbstractResolver
    ) -> None:
        self._connect_to = connect_to
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raise OSError if it has none, or none that the policy permits."""
        name = host.lower().rstrip(".")
        instead = self._connect_to.get(f"{name}:{port}") or self._connect_to.get(name)
        if instead is not None:
            return await self._addresses(instead.address, instead.port, family)
        found = await self._addresses(host, port, family)
        if self._policy is None:
            return found
        permitted = [result for result in found if self._permits(name, result["host"])]
        if found and not permitted:
            raise RefusedAddressError(f"{name} has private addresses only")
        return permitted

    def _permits(self, name: str, text: str) -> bool:
        address = literal(text)
        return address is not None and self._policy is not None and self._policy.permits(name, address)

    async def _addresses(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        address = literal(host)
        if address is None:
            try:
                return await self._lookup.resolve(host, port, family)
            except UnicodeError as error:  # a label of more than 63 characters, or none
                raise OSError(f"{host[:_SHOWN]} is no name of a host") from error
        version = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP versions
        return [
            ResolveResult(hostname=host, host=host, port=port, family=version, proto=0, flags=socket.AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        """Leave the shared lookup open; its owner closes it."""
