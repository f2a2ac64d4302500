from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.product import origin, run_product
from tests.conformance.registry import Registry

REPOSITORY = "conformance/one"
OTHER = "conformance/two"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that sends and decodes nothing of its own accord."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    ) as opened:
        yield opened


@pytest.fixture
def sections() -> dict[str, Any]:
    """The configuration of the registry under test; nothing but defaults unless a module says otherwise."""
    return {}


@pytest.fixture
async def registry(sections: dict[str, Any], session: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[Registry]:
    """The product, hosting its own repositories."""
    async with run_product(tmp_path / "registry", sections) as server:
        yield Registry(session, origin(server.address))
