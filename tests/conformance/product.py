"""The product over a folder: its composition root and its server, on a free port of this process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.app import open_core, services_of
from proxy.config.settings import Settings
from proxy.http.server import Server


@asynccontextmanager
async def run_product(folder: Path, sections: Mapping[str, Any]) -> AsyncIterator[Server]:
    """Run the product with these sections of a configuration."""
    own = {"server": {"port": 0, "drain_timeout": 0}, "storage": {"path": folder, "min_free": 0}}
    settings = Settings.model_validate({**own, **sections})
    async with open_core(settings) as core:
        services = await services_of(settings, core)
        async with Server(services, settings.mirrors) as server:
            yield server


def origin(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"
