"""DNS that says what a test wants."""

import socket
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult


class Lookup(AbstractResolver):
    """Answer every name with `addresses`; with none, as if the name did not exist."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if not self.addresses:
            raise OSError(None, f"no such name, for {family.name}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass
