"""A repository with lifecycle policies, and a clock that the tests move."""

import time
from collections.abc import AsyncIterator
from typing import Final

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.tasks import Tasks
from proxy.model.reference import RepositoryName
from tests.support.clock import FakeClock
from tests.support.meddled_metadata import MeddledMetadata

NAME: Final = RepositoryName("team/app")


@pytest.fixture
def clock() -> FakeClock:
    # Images are pushed at the time of the machine.
    return FakeClock(time.time())


@pytest.fixture
async def store() -> MeddledMetadata:
    made = MeddledMetadata()
    await made.create_repository(RepositoryRecord(NAME, 1.0))
    return made


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as opened:
        yield opened
