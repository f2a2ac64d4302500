"""Fills over stores in memory."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clock import FakeClock
from tests.support.fills import FillBench


@pytest.fixture
async def bench(clock: FakeClock) -> AsyncIterator[FillBench]:
    async with FillBench(clock) as bench:
        yield bench
