"""Connections are the loop's business: each of these tests runs on asyncio's own and on the one that is served with."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.support.certificates import Authority
from tests.unit.http.connections.site import Security


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["plain", "tls", "tls without speedups"])
def security(request: pytest.FixtureRequest, tmp_path: Path) -> Security:
    if request.param == "plain":
        return Security()
    return Security(Authority(tmp_path), "auto" if request.param == "tls" else "off")
