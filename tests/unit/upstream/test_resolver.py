import socket

import pytest
from aiohttp import ThreadedResolver

from proxy.upstream.addresses import AddressPolicy
from proxy.upstream.resolver import ConnectTo, RefusedAddressError, Resolver, parse_connect_to
from tests.support.upstream_dns import Lookup

STRICT = AddressPolicy.of(())


async def addresses(resolver: Resolver, host: str, port: int = 443) -> list[tuple[str, int]]:
    return [(result["host"], result["port"]) for result in await resolver.resolve(host, port)]


async def test_only_permitted_addresses_are_handed_to_the_connector() -> None:
    resolver = Resolver({}, STRICT, Lookup(["10.0.0.1", "93.184.216.34", "::1", "2606:2800:220:1::1"]))
    assert await addresses(resolver, "mixed.example") == [("93.184.216.34", 443), ("2606:2800:220:1::1", 443)]


async def test_a_name_with_private_addresses_only_is_refused() -> None:
    with pytest.raises(RefusedAddressError):
        await Resolver({}, STRICT, Lookup(["10.0.0.1", "::1"])).resolve("inner.example", 443)


async def test_without_a_policy_every_address_is_permitted() -> None:
    assert await addresses(Resolver({}, None, Lookup(["10.0.0.1"])), "registry.corp") == [("10.0.0.1", 443)]


async def test_hosts_of_the_operators_map_are_exempt() -> None:
    lookup = Lookup(["10.0.0.2"])
    connect_to = parse_connect_to(
        {
            "A.example.": "127.0.0.1:5001",
            "b.example": "[::1]:5002",
            "c.example": "inner:5003",
            "d.example:8443": "127.0.0.1:5004",
        }
    )
    resolver = Resolver(connect_to, STRICT, lookup)
    assert await addresses(resolver, "a.EXAMPLE") == [("127.0.0.1", 5001)]
    assert await addresses(resolver, "b.example.") == [("::1", 5002)]
    assert await addresses(resolver, "c.example") == [("10.0.0.2", 5003)]
    assert await addresses(resolver, "d.example", 8443) == [("127.0.0.1", 5004)]
    with pytest.raises(RefusedAddressError):
        await resolver.resolve("d.example", 443)
    assert (await resolver.resolve("b.example", 443))[0]["family"] == socket.AF_INET6


def test_an_address_in_the_map_may_stand_in_brackets() -> None:
    assert parse_connect_to({"a": "[::1]:5"}) == {"a": ConnectTo("::1", 5)}


async def test_an_unknown_name_stays_an_error() -> None:
    with pytest.raises(OSError, match="no such name"):
        await Resolver({}, STRICT, Lookup([])).resolve("nowhere.example", 443)


async def test_a_name_that_cannot_be_one_is_as_one_that_does_not_exist() -> None:
    # Where a redirect leads, or a token server is, an upstream decides.
    resolver = Resolver({}, STRICT, ThreadedResolver())
    with pytest.raises(OSError, match="no name of a host"):
        await resolver.resolve(f"{'a' * 64}.example", 443)
