from collections.abc import AsyncIterator

import pytest

from proxy.core.tasks import Tasks
from proxy.telemetry.metrics import Metrics
from tests.emulators.identity_provider import IdentityProvider
from tests.support.clock import FakeClock


@pytest.fixture
async def provider(clock: FakeClock) -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider(clock) as provider:
        yield provider


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as tasks:
        yield tasks


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()
