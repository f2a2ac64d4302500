"""Wrong passwords are counted by network, and far higher by user; too many are refused for a while."""

import pytest

from proxy.core.access.attempts import Attempts
from proxy.model.errors import ErrorCode, ProxyError
from tests.support.clock import FakeClock

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def attempts(clock: FakeClock) -> Attempts:
    return Attempts(3, clock)


def refused(attempts: Attempts, user: str, address: str | None) -> int | None:
    """Return the seconds that somebody is told to wait, None where a password would be heard."""
    try:
        attempts.require(user, address)
    except ProxyError as error:
        assert error.code is ErrorCode.TOOMANYREQUESTS  # noqa: PT017 - refused or heard, and nothing else
        seconds = error.headers["Retry-After"]
        assert f"try again in {seconds} s" in error.message  # noqa: PT017 - as above
        return int(seconds)
    return None


def from_many_networks(attempts: Attempts, user: str, count: int) -> None:
    for number in range(count):
        attempts.failed(user, f"198.51.100.{number}")


def test_nobody_keeps_a_user_out_whose_name_he_knows(attempts: Attempts) -> None:
    for _ in range(29):
        attempts.failed("alice", HERE)
    assert refused(attempts, "alice", HERE) == 60
    assert refused(attempts, "alice", THERE) is None
    assert refused(attempts, "alice", None) is None


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_ten_times_as_many_from_many_networks_have_the_user_refused_everywhere(attempts: Attempts, user: str) -> None:
    from_many_networks(attempts, user, 29)
    assert refused(attempts, user, THERE) is None
    attempts.failed(user, HERE)
    assert refused(attempts, user, THERE) == 60
    assert refused(attempts, user, None) == 60
    assert refused(attempts, "bob", THERE) is None


def test_a_user_is_heard_where_the_right_password_came_from_however_many_guess_elsewhere(attempts: Attempts) -> None:
    attempts.succeeded("alice", "2001:db8::1")
    from_many_networks(attempts, "alice", 30)
    assert refused(attempts, "alice", "2001:db8::2") is None
    assert refused(attempts, "alice", THERE) == 60
    for number in range(3):
        attempts.failed(f"guess{number}", "2001:db8::3")
    assert refused(attempts, "alice", "2001:db8::2") == 60


def test_where_one_users_password_came_from_nobody_else_is_heard_the_more(attempts: Attempts) -> None:
    attempts.succeeded("bob", THERE)
    attempts.succeeded("alice", None)
    from_many_networks(attempts, "alice", 30)
    assert refused(attempts, "alice", THERE) == 60
    assert refused(attempts, "alice", None) is None


def test_where_a_right_password_came_from_is_known_for_a_day(attempts: Attempts, clock: FakeClock) -> None:
    attempts.succeeded("alice", HERE)
    clock.advance(24 * 3600 - 1)
    from_many_networks(attempts, "alice", 30)
    assert refused(attempts, "alice", HERE) is None
    clock.advance(1)
    assert refused(attempts, "alice", HERE) == 59


def test_of_the_networks_of_one_user_the_last_ones_are_known_and_they_push_no_others_out(attempts: Attempts) -> None:
    attempts.succeeded("alice", HERE)
    for number in range(30_000):
        attempts.succeeded("roaming", f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    for user in ("alice", "roaming"):
        from_many_networks(attempts, user, 30)
    assert refused(attempts, "alice", HERE) is None
    assert refused(attempts, "roaming", "10.0.117.47") is None
    assert refused(attempts, "roaming", "10.0.0.1") == 60


def test_without_an_address_each_user_is_refused_alone(attempts: Attempts) -> None:
    for _ in range(3):
        assert refused(attempts, "alice", None) is None
        attempts.failed("alice", None)
    assert refused(attempts, "alice", None) == 60
    assert refused(attempts, "alice", HERE) is None
    assert refused(attempts, "bob", None) is None


def test_an_address_is_refused_for_every_user_and_no_other_is(attempts: Attempts) -> None:
    for number in range(3):
        attempts.failed(f"guess{number}", HERE)
    assert refused(attempts, "alice", HERE) == 60
    assert refused(attempts, "alice", THERE) is None
    assert refused(attempts, "guess1", THERE) is None


def test_the_wait_ends_when_the_oldest_of_them_is_a_minute_old(attempts: Attempts, clock: FakeClock) -> None:
    for seconds in (0, 10, 10.5):
        clock.advance(seconds)
        attempts.failed("alice", HERE)
    assert refused(attempts, "alice", HERE) == 40
    clock.advance(39.5)
    assert refused(attempts, "alice", HERE) is None
    attempts.failed("alice", HERE)
    assert refused(attempts, "alice", HERE) == 10
    clock.advance(60)
    assert refused(attempts, "alice", HERE) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("/run/socket", "/run/socket", True),
        ("/run/socket", "/run/other", False),
    ],
)
def test_addresses_of_one_ipv6_network_count_as_one(attempts: Attempts, one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a column of the table
    for number in range(3):
        attempts.failed(f"guess{number}", one)
    assert (refused(attempts, "alice", other) is not None) == same


def test_what_is_remembered_is_bounded_and_users_do_not_push_addresses_out(clock: FakeClock) -> None:
    attempts = Attempts(1, clock)
    attempts.failed("alice", HERE)
    for number in range(20_001):
        attempts.failed(f"guess{number}", None)
    assert refused(attempts, "alice", None) is None
    assert refused(attempts, "alice", HERE) is not None
