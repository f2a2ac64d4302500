from collections.abc import AsyncIterator

import pytest

from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from proxy.upstream.retries import Retries
from tests.emulators import KINDS, Content, Emulator, start
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock


@pytest.fixture(scope="session")
def samples() -> Content:
    """Content that is made once; tests that change repositories make their own."""
    return Content()


@pytest.fixture(params=sorted(KINDS))
async def emulator(request: pytest.FixtureRequest, samples: Content, clock: FakeClock) -> AsyncIterator[Emulator]:
    """Each kind in turn."""
    async with start(request.param, samples, clock) as running:
        yield running


@pytest.fixture
async def plain(emulator: Emulator) -> AsyncIterator[PlainClient]:
    """A client that does what it is told, for the emulator."""
    async with PlainClient(emulator) as client:
        yield client


@pytest.fixture
async def client(emulator: Emulator, clock: FakeClock) -> AsyncIterator[UpstreamClient]:
    """The product's client, without pauses between attempts."""

    async def sleep(_: float) -> None:
        pass

    retries = Retries(lambda _, ceiling: ceiling, sleep)
    async with UpstreamClient(emulator.settings, clock, Metrics(), retries=retries) as opened:
        yield opened
