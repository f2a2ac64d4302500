"""The product and the registry behind it, side by side, and what tests ask of both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from proxy.model.digest import Digest
from tests.emulators import Emulator, Exchange, Route, Samples
from tests.integration.scenarios.client_styles import Place
from tests.integration.scenarios.product import Access, Answered, Product, Registry, Stores, run_product

NAMESPACES = {"registry-1.docker.io": "docker.io"}
PREFIXES = {"chainguard": "cgr"}
"""Where a rule's usual prefix is also the first segment of its upstream's names, ``ns`` would be ambiguous."""

_RESOLVE_AGAIN = 301.0


@dataclass
class Bench:
    """One rule of the product, and the emulator that it leads to."""

    product: Product
    emulator: Emulator

    @property
    def registry(self) -> Registry:
        return self.product.registry

    @property
    def public(self) -> Samples:
        return self.emulator.content.public

    @property
    def prefix(self) -> str:
        return prefix_of(self.emulator)

    @property
    def place(self) -> Place:
        """Return where clients find the public repository."""
        host = self.emulator.host
        mirror, namespace = self.product.mirror(self.prefix), NAMESPACES.get(host, host)
        return Place(self.registry, mirror, self.prefix, self.emulator.public_repository, host, namespace)

    def path(self, kind: str, reference: object = "", repository: str | None = None) -> str:
        """Return the path below the prefix of the rule."""
        last = f"/{reference}" if reference else ""
        return f"/v2/{self.prefix}/{repository or self.emulator.public_repository}/{kind}{last}"

    async def manifest(self, reference: object, *lines: tuple[str, str], repository: str | None = None) -> Answered:
        return await self.registry.ask(self.path("manifests", reference, repository), *lines)

    async def blob(self, digest: object, *lines: tuple[str, str]) -> Answered:
        return await self.registry.ask(self.path("blobs", digest), *lines)

    def asked(self, route: Route, method: str | None = None, containing: object = "") -> list[Exchange]:
        """Return what the registry itself was asked, without what it met with a challenge."""
        found = self.emulator.journal.of(route, method, host=self.emulator.host, containing=str(containing))
        return [each for each in found if each.status != 401]

    def transfers(self, digest: Digest) -> list[Exchange]:
        """Return the transfers of a blob from the storage."""
        found = self.emulator.journal.of(Route.STORAGE, "GET")
        return [each for each in found if digest.encoded in each.target]

    async def is_kept(self, digest: Digest) -> bool:
        return await self.product.stores.blobs.stat(digest) is not None

    def expire(self) -> None:
        """Let tags be due for a check."""
        self.product.clock.advance(_RESOLVE_AGAIN)


def prefix_of(emulator: Emulator) -> str:
    return PREFIXES.get(emulator.rule_prefix, emulator.rule_prefix)


@asynccontextmanager
async def running(
    emulator: Emulator,
    *,
    limits: dict[str, Any] | None = None,
    stores: Stores | None = None,
    access: Access | None = None,
    **rule: Any,  # noqa: ANN401 - any key of a rule
) -> AsyncIterator[Bench]:
    """Run the product with a rule that has `rule`'s keys, and upstream settings that have those of `limits`."""
    with_account = rule.pop("with_account", None)
    made = replace(emulator.rule(with_account=with_account), **({"prefix": prefix_of(emulator)} | rule))
    clock: Any = emulator.clock
    settings = emulator.settings_with(**(limits or {}))
    async with run_product([made], settings, clock, stores=stores, access=access) as product:
        yield Bench(product, emulator)
