from collections.abc import AsyncIterator

import pytest
import trustme

from tests.emulators import KINDS, Content, Emulator, Samples, start
from tests.emulators.content import EVERY_ACCOUNT
from tests.integration.scenarios.bench import Bench, running
from tests.support.clock import FakeClock


@pytest.fixture(scope="session")
def samples() -> Content:
    """Content that is made once; its big blob is large enough for a transfer to be seen half done."""
    private = Samples("private", readers=EVERY_ACCOUNT, big=1 << 20)
    return Content(Samples("public", big=1 << 20), private)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority behind all certificates: one client may trust several emulators."""
    return trustme.CA()


@pytest.fixture(params=sorted(KINDS))
async def emulator(
    request: pytest.FixtureRequest, samples: Content, clock: FakeClock, authority: trustme.CA
) -> AsyncIterator[Emulator]:
    """Each kind in turn."""
    async with start(request.param, samples, clock, authority=authority) as started:
        yield started


@pytest.fixture
async def bench(emulator: Emulator) -> AsyncIterator[Bench]:
    """The product with one rule, for the emulator."""
    async with running(emulator) as opened:
        yield opened
