"""Folders, threads and a look at the database, for the tests of the stores."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from proxy.storage.layout import Layout
from proxy.storage.threads import Threads


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    pool = Threads("test", 4)
    yield pool
    await asyncio.to_thread(pool.close)


@pytest.fixture
def statements() -> Iterator[dict[str, Any]]:
    """Every statement that runs meanwhile, with an example of its parameters."""
    seen: dict[str, Any] = {}

    def record(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401 - whatever the driver takes
        seen[statement] = parameters[0] if isinstance(parameters, list) else parameters

    event.listen(Engine, "before_cursor_execute", record)
    yield seen
    event.remove(Engine, "before_cursor_execute", record)
