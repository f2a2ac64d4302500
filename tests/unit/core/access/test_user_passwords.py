"""Passwords of users: each costs bcrypt once, wrong ones are limited, and changes of the file count at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from proxy.core.access.attempts import Attempts
from proxy.core.access.ports import Users
from proxy.core.access.user_passwords import AT_ONCE, UserPasswords
from proxy.core.tasks import Tasks
from proxy.model.errors import ErrorCode, ProxyError
from proxy.telemetry.metrics import Metrics
from tests.support.background import started, until
from tests.support.clock import FakeClock
from tests.support.identities import PasswordFile, user_line

HERE, THERE = "192.0.2.1", "192.0.2.2"
LIMIT = 5
LAYERS = 20


class Bench:
    """The passwords of a file, and the counter of what they cost."""

    def __init__(self, file: PasswordFile, tasks: Tasks, clock: FakeClock, metrics: Metrics) -> None:
        self.file = file
        self.clock = clock
        self._tasks = tasks
        self._metrics = metrics
        self.passwords = self.over(file.users)

    def over(self, users: Users) -> UserPasswords:
        attempts = Attempts(LIMIT, self.clock)
        return UserPasswords(users, attempts, self._tasks, self.clock, self._metrics, timedelta(minutes=5))

    async def check(self, user: str, password: str, address: str | None = HERE, *, stray: bool = False) -> bool | int:
        """Return whether the password is right, or how many seconds to wait until it is heard."""
        try:
            return await self.passwords.check(user, password, address, stray=stray)
        except ProxyError as error:
            assert error.code is ErrorCode.TOOMANYREQUESTS  # noqa: PT017 - heard or refused, and nothing else
            return int(error.headers["Retry-After"])

    @property
    def counted(self) -> dict[str, float]:
        """Return the counter, as far as it counted."""
        found = {
            outcome: self._metrics.registry.get_sample_value("pullthrough_password_checks_total", {"outcome": outcome})
            for outcome in ("right", "wrong", "cached", "limited")
        }
        return {outcome: count for outcome, count in found.items() if count}


@pytest.fixture
async def bench(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Bench]:
    metrics = Metrics()
    file = PasswordFile(tmp_path / "users", metrics)
    await file.hold(user_line("alice", "right"), user_line("bob", "bob's"))
    async with Tasks() as tasks:
        yield Bench(file, tasks, clock, metrics)
    file.users.close()


class Gate:
    """The port `Users`, whose one password is computed when the test lets it be."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.computing = 0
        self.computed = 0

    async def verify(self, user: str, password: str) -> bool:
        del user
        self.computing += 1
        self.computed += 1
        await self.open.wait()
        self.computing -= 1
        return password == "right"

    def knows(self, user: str) -> bool:
        return bool(user)

    def version(self, user: str) -> str | None:
        return user


async def test_a_pull_of_twenty_layers_at_once_costs_one_bcrypt(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.check("alice", "right") for _ in range(LAYERS)))
    assert answers == [True] * LAYERS
    assert bench.counted == {"right": 1, "cached": LAYERS - 1}


async def test_a_pull_of_twenty_layers_one_after_the_other_costs_one_bcrypt(bench: Bench) -> None:
    for _ in range(LAYERS):
        assert await bench.check("alice", "right") is True
    assert bench.counted == {"right": 1, "cached": LAYERS - 1}


async def test_machines_that_pull_at_once_with_one_password_cost_one_bcrypt(bench: Bench) -> None:
    gate = Gate()
    bench.passwords = bench.over(gate)
    pulls = [started(bench.check("alice", "right", f"192.0.2.{number}")) for number in range(LAYERS)]
    await until(lambda: gate.computing)
    gate.open.set()
    assert await asyncio.gather(*pulls) == [True] * LAYERS
    assert gate.computed == bench.counted["right"]
    assert gate.computed + bench.counted["cached"] == LAYERS
    assert gate.computed <= AT_ONCE


async def test_a_right_password_is_computed_again_after_its_time(bench: Bench) -> None:
    await bench.check("alice", "right")
    bench.clock.advance(299)
    await bench.check("alice", "right")
    assert bench.counted == {"right": 1, "cached": 1}
    bench.clock.advance(2)
    assert await bench.check("alice", "right") is True
    assert await bench.check("alice", "right") is True
    assert bench.counted == {"right": 2, "cached": 2}


async def test_a_known_password_opens_for_nobody_else(bench: Bench) -> None:
    await bench.check("alice", "right")
    assert await bench.check("bob", "right") is False
    assert await bench.check("alice", "bob's") is False
    assert await bench.check("bob", "bob's") is True
    assert await bench.check("alice", "right") is True


async def guesses(bench: Bench, user: str, count: int) -> list[bool | int]:
    """Guess a user's password, each time from another network."""
    return [await bench.check(user, f"guess{number}", f"198.51.100.{number}") for number in range(count)]


@pytest.mark.parametrize("user", ["alice", "nobody"])
async def test_ten_times_as_many_for_a_user_from_everywhere_are_refused_without_being_computed(
    bench: Bench, user: str
) -> None:
    answers = await guesses(bench, user, 10 * LIMIT + 3)
    assert answers == [False] * 10 * LIMIT + [60] * 3
    assert bench.counted == {"wrong": 10 * LIMIT, "limited": 3}
    assert await bench.check(user, "right", THERE) == 60
    assert await bench.check("bob", "bob's", THERE) is True
    bench.clock.advance(60)
    assert await bench.check(user, "right", THERE) is (user == "alice")


async def test_who_knows_a_name_keeps_nobody_out(bench: Bench) -> None:
    answers = [await bench.check("alice", f"guess{number}", HERE) for number in range(LIMIT + 30)]
    assert answers == [False] * LIMIT + [60] * 30
    assert await bench.check("alice", "right", THERE) is True


@pytest.mark.parametrize("cached", [False, True])
async def test_a_user_is_heard_from_where_the_right_password_came_though_it_is_not_remembered(
    bench: Bench, *, cached: bool
) -> None:
    # What is remembered of a password ends with the password; where its user is at home is known on.
    if cached:
        assert await bench.check("alice", "right", "192.0.2.3") is True
    assert await bench.check("alice", "right", THERE) is True
    await bench.file.hold(user_line("alice", "new"))
    await guesses(bench, "alice", 10 * LIMIT)
    assert await bench.check("alice", "new", HERE) == 60
    assert await bench.check("alice", "new", THERE) is True


async def test_too_many_wrong_passwords_from_an_address_are_refused_and_others_are_heard(bench: Bench) -> None:
    answers = [await bench.check(f"user{number}", "guess") for number in range(LIMIT + 1)]
    assert answers == [False] * LIMIT + [60]
    assert await bench.check("alice", "right", HERE) == 60
    assert await bench.check("alice", "right", THERE) is True


async def test_the_same_wrong_password_counts_each_time_and_is_computed_once(bench: Bench) -> None:
    answers = [await bench.check("alice", "guess") for _ in range(LIMIT + 1)]
    assert answers == [False] * LIMIT + [60]
    assert bench.counted == {"wrong": 1, "cached": LIMIT - 1, "limited": 1}


async def test_the_same_stray_password_counts_once(bench: Bench) -> None:
    # What dockerd sends to a mirror for Docker Hub must not keep others of its machine from logging in.
    answers = [await bench.check("hub-user", "dckr_pat", stray=True) for _ in range(4 * LIMIT)]
    assert answers == [False] * (4 * LIMIT)
    assert bench.counted == {"wrong": 1, "cached": 4 * LIMIT - 1}
    assert await bench.check("alice", "right") is True
    guesses = [await bench.check("alice", f"guess{number}", stray=True) for number in range(LIMIT)]
    assert guesses == [False] * (LIMIT - 1) + [60]


async def test_parallel_guesses_are_limited_too(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.check("alice", f"guess{number}") for number in range(200)))
    # Those that were being computed when the last one of them counted.
    assert answers.count(False) == bench.counted["wrong"]
    assert LIMIT <= bench.counted["wrong"] <= LIMIT + AT_ONCE - 1
    assert bench.counted["wrong"] + bench.counted["limited"] == 200
    assert await bench.check("alice", "right") == 60


async def test_a_password_that_was_right_is_heard_however_many_others_guess(bench: Bench) -> None:
    assert await bench.check("alice", "right") is True
    for number in range(LIMIT):
        await bench.check("alice", f"guess{number}")
    assert await bench.check("alice", "right") is True
    bench.clock.advance(290)
    for number in range(LIMIT):
        await bench.check("alice", f"guess{number}")
    bench.clock.advance(20)
    assert await bench.check("alice", "other") == 40
    assert await bench.check("alice", "right") is True
    assert bench.counted["right"] == 2


async def test_a_changed_and_a_removed_password_end_at_once(bench: Bench) -> None:
    assert await bench.check("alice", "right") is True
    await bench.file.hold(user_line("alice", "new"))
    assert await bench.check("alice", "right") is False
    assert await bench.check("alice", "new") is True
    await bench.file.hold()
    assert await bench.check("alice", "new") is False


async def test_a_user_who_is_added_is_known_with_the_password_that_was_wrong_before(bench: Bench) -> None:
    assert await bench.check("carol", "hers") is False
    await bench.file.hold(user_line("carol", "hers"))
    assert await bench.check("carol", "hers") is True


async def test_a_client_that_leaves_does_not_keep_the_others_from_their_answer(bench: Bench) -> None:
    gate = Gate()
    bench.passwords = bench.over(gate)
    first, second = (started(bench.check("alice", "right")) for _ in range(2))
    await until(lambda: gate.computing)
    first.cancel()
    gate.open.set()
    assert await second is True
    assert first.cancelled()
    assert gate.computed == 1


async def test_those_that_wait_are_bounded(bench: Bench) -> None:
    gate = Gate()
    bench.passwords = bench.over(gate)
    waiting = [started(bench.check(f"user{number}", "right", None)) for number in range(256)]
    await until(lambda: gate.computing)
    assert await bench.check("one-more", "right", None) == 5
    assert bench.counted == {"limited": 1}
    gate.open.set()
    assert await asyncio.gather(*waiting) == [True] * 256
    assert await bench.check("one-more", "right", None) is True


@pytest.mark.parametrize("user", ["", "a b", "cert:x", "*", "anonymous", "a\0b", "x" * 10_000])
async def test_a_name_that_nobody_can_have_costs_nothing(bench: Bench, user: str) -> None:
    assert await bench.check(user, "right") is False
    assert bench.counted == {}


@pytest.mark.parametrize("password", ["", "\0", "\udc80", "x" * 100_000])
async def test_any_text_may_come_as_a_password(bench: Bench, password: str) -> None:
    assert await bench.check("alice", password) is False
