from collections.abc import AsyncIterator

import pytest
import trustme

from tests.emulators import Azure, Content, DockerHub, GitLab, Samples, run
from tests.emulators.content import EVERY_ACCOUNT
from tests.integration.scenarios.bench import Bench, running
from tests.integration.security.pusher import Pusher
from tests.support.clock import FakeClock


@pytest.fixture
def samples() -> Content:
    """Content of its own for each test: what is hostile is put into it."""
    return Content(Samples("public", big=1 << 18), Samples("private", readers=EVERY_ACCOUNT, big=1 << 18))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def hub(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[Bench]:
    """Docker Hub behind a rule with an account, which an attacker would like to have."""
    async with (
        run(DockerHub(samples, clock), authority=authority) as emulator,
        running(emulator, with_account=True) as bench,
    ):
        yield bench


@pytest.fixture
async def gitlab(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[Bench]:
    async with (
        run(GitLab(samples, clock), authority=authority) as emulator,
        running(emulator, with_account=True) as bench,
    ):
        yield bench


@pytest.fixture
async def azure(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[Bench]:
    async with (
        run(Azure(samples, clock), authority=authority) as emulator,
        running(emulator, with_account=True) as bench,
    ):
        yield bench


@pytest.fixture
def app(hub: Bench) -> Pusher:
    """Who pushes to a repository that is hosted here."""
    return Pusher(hub.registry, "team/app")


@pytest.fixture
def other(hub: Bench) -> Pusher:
    """Who pushes to another one."""
    return Pusher(hub.registry, "team/other")
