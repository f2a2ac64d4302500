"""The product over a folder: its composition root and its server, in this process or, with workers, in their own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.app.access import open_access
from proxy.app.core import open_core
from proxy.app.server import services_of
from proxy.config.settings import Settings
from proxy.http.server import Server
from tests.support.processes import free_port
from tests.support.pullthrough import WORKERS, Pullthrough


@dataclass(frozen=True)
class Listening:
    """Where a product listens: itself, and its mirrors by the prefix of their rule."""

    address: tuple[str, int]
    mirror_addresses: Mapping[str, tuple[str, int]]


@asynccontextmanager
async def run_product(folder: Path, sections: Mapping[str, Any]) -> AsyncIterator[Listening]:
    """Run the product with these sections of a configuration."""
    if WORKERS > 1:
        async with _run_processes(folder, sections) as listening:
            yield listening
        return
    own = {"server": {"port": 0, "drain_timeout": 0}, "storage": {"path": folder, "min_free": 0}}
    settings = Settings.model_validate({**own, **sections})
    async with open_core(settings) as core, open_access(settings, core) as access:
        services = services_of(settings, core, access)
        async with Server(services, settings.mirrors) as server:
            yield Listening(server.address, server.mirror_addresses)


@asynccontextmanager
async def _run_processes(folder: Path, sections: Mapping[str, Any]) -> AsyncIterator[Listening]:
    mirrors = [{**mirror, "port": free_port()} for mirror in sections.get("mirrors", ())]
    given = {**sections, "mirrors": mirrors} if mirrors else sections
    product = Pullthrough(folder / "server", given, store=folder)
    await asyncio.to_thread(product.start)
    try:
        addresses = {mirror["rule"]: ("127.0.0.1", mirror["port"]) for mirror in mirrors}
        yield Listening(("127.0.0.1", product.port), addresses)
    finally:
        await asyncio.to_thread(product.stop)


def origin(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"
