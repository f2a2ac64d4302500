"""The counter-cases: a company's registry works with the keys that the refusals name, and without them says which.

Its token server is another site's, its storage has private addresses, its certificates are its own authority's, and
the way to it is a forward proxy.
"""

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.config.settings import UpstreamSettings
from tests.emulators import BearerEmulator, Content, Route, run
from tests.emulators.content import Blob
from tests.emulators.storage import AWS, Storage, aws_query
from tests.integration.scenarios.bench import Bench
from tests.integration.scenarios.product import Answered, run_product, sha256
from tests.support.clock import FakeClock
from tests.support.forward_proxy import ForwardProxy, forwarding


class Company(BearerEmulator):
    """A registry in a company's network."""

    kind = "company"
    rule_prefix = "company"
    host = "registry.company.example"
    public_repository = "team/app"
    private_repository = "team/secret"
    token_hosts = ("login.identity.test",)
    cdn_hosts = ("storage.company.internal",)
    realm = "https://login.identity.test/token"
    service = "company"
    needs_account = True

    def __init__(self, content: Content, clock: FakeClock) -> None:
        super().__init__(content, clock)
        self.storage = Storage(self.cdn_hosts[0], clock, AWS, aws_query, 600)
        self.places |= {self.storage.host: self.storage.answer, self.token_hosts[0]: self._registry}

    def storage_of(self, found: Blob) -> Storage:
        assert found.size >= 0
        return self.storage


class PrivateNames(AbstractResolver):
    """The company's DNS: every name has an address of a private network, at which the emulator listens."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del port, family
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def company(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[Company]:
    async with run(Company(samples, clock), authority=authority) as started:
        yield started


@pytest.fixture
async def proxy(company: Company) -> AsyncIterator[ForwardProxy]:
    async with forwarding(company.listener.port) as running:
        yield running


KEYS: dict[str, Any] = {
    "token_realms": ("login.identity.test",),
    "allow_private": ("storage.company.internal", "login.identity.test"),
}


@asynccontextmanager
async def opened(company: Company, **keys: Any) -> AsyncIterator[Bench]:  # noqa: ANN401 - any key of a rule
    """Run the product with nothing but DNS to find the company by."""
    clock: Any = company.clock
    rule = replace(company.rule(), **keys)
    names = PrivateNames(company.listener.port)
    async with run_product([rule], UpstreamSettings(), clock, lookup=names) as product:
        yield Bench(product, company)


async def pulled(bench: Bench) -> list[Answered]:
    return [await bench.manifest("latest"), await bench.blob(bench.public.layer.digest)]


async def test_a_company_network_works_with_its_keys(company: Company) -> None:
    async with opened(company, ca_file=company.listener.ca_file, **KEYS) as bench:
        manifest, layer = await pulled(bench)
        assert (manifest.status, layer.status) == (200, 200)
        assert sha256(layer.body) == str(bench.public.layer.digest)
    assert not company.leaks()


async def test_networks_can_be_permitted_instead_of_names(company: Company) -> None:
    keys = {"token_realms": ("*.identity.test",), "allow_private": ("127.0.0.0/8",)}
    async with opened(company, ca_file=company.listener.ca_file, **keys) as bench:
        assert [each.status for each in await pulled(bench)] == [200, 200]


async def test_a_forward_proxy_is_used_for_all_hosts_and_names_are_judged(
    company: Company, proxy: ForwardProxy
) -> None:
    through = {"proxy": f"http://user:pass@127.0.0.1:{proxy.port}", "ca_file": company.listener.ca_file}
    async with opened(company, **through, token_realms=KEYS["token_realms"]) as bench:
        manifest, layer = await pulled(bench)
        # Only what a name tells can be judged: the token server's is public, the storage's is not.
        assert manifest.status == 200
        assert (layer.status, layer.code) == (502, "UPSTREAM_INVALID")
        assert "'storage.company.internal' to `allow_private`" in layer.message
    async with opened(company, **through, **KEYS) as bench:
        assert [each.status for each in await pulled(bench)] == [200, 200]
    assert proxy.hosts == {company.host, *company.token_hosts, *company.cdn_hosts}
    assert all("Proxy-Authorization" in head for head in proxy.heads)
    assert all("Proxy-Authorization" not in each.request.headers for each in company.journal.exchanges)


async def test_each_refusal_names_the_key_that_mends_it(company: Company) -> None:
    """Begin with no key at all, and do what the messages say."""
    keys: dict[str, Any] = {}
    named = []
    for _ in range(6):
        async with opened(company, **keys) as bench:
            answers = await pulled(bench)
        failed = next((each for each in answers if each.status != 200), None)
        if failed is None:
            break
        assert failed.status == 502
        found = re.search(r"add (?:'([^']+)' to|its authority to) `([a-z_]+)`", failed.message)
        assert found is not None, failed.message
        host, key = found[1], found[2]
        named.append((key, host))
        if key == "ca_file":
            keys["ca_file"] = company.listener.ca_file
        else:
            keys[key] = (*keys.get(key, ()), host)
    assert named == [
        ("ca_file", None),
        ("token_realms", "login.identity.test"),
        ("allow_private", "login.identity.test"),
        ("allow_private", "storage.company.internal"),
    ]
    assert company.journal.count(Route.STORAGE, "GET") == 1
    assert not company.leaks()


async def test_a_public_upstream_cannot_lead_to_a_private_name(company: Company) -> None:
    keys = {"token_realms": KEYS["token_realms"], "allow_private": ("login.identity.test",)}
    async with opened(company, ca_file=company.listener.ca_file, **keys) as bench:
        manifest, layer = await pulled(bench)
        assert (manifest.status, layer.status) == (200, 502)
    assert company.journal.count(Route.STORAGE) == 0
