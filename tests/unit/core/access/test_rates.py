"""How many requests callers may make, and how they are told apart. Time passes only where a test moves it."""

import pytest

from proxy.core.access import rates
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.rates import Rates
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock

ALICE = Caller(Principal("alice"), Scheme.PASSWORD, "192.0.2.1")
STRANGER = Caller(address="192.0.2.1")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def refusal(limit: Rates, caller: Caller) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        limit.admit(caller)
    return caught.value


def admitted(limit: Rates, caller: Caller, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            limit.admit(caller)
        except ProxyError:
            continue
        count += 1
    return count


def test_a_burst_is_admitted_and_then_the_rate(clock: FakeClock, metrics: Metrics) -> None:
    limit = Rates(2.0, 5, clock, metrics)
    assert admitted(limit, ALICE, 20) == 5
    clock.advance(1)
    assert admitted(limit, ALICE, 20) == 2
    clock.advance(3600)
    assert admitted(limit, ALICE, 20) == 5


@pytest.mark.parametrize(
    ("per_second", "retry"), [(100.0, "1"), (1.0, "1"), (0.5, "2"), (0.3, "4"), (1 / 3600, "3600")]
)
def test_who_waits_as_long_as_told_is_admitted(
    clock: FakeClock, metrics: Metrics, per_second: float, retry: str
) -> None:
    limit = Rates(per_second, 1, clock, metrics)
    limit.admit(ALICE)
    refused = refusal(limit, ALICE)
    assert refused.code is ErrorCode.TOOMANYREQUESTS
    assert refused.headers == {"Retry-After": retry}
    assert admitted(limit, ALICE, 1000) == 0  # being refused costs nothing
    clock.advance(float(retry))
    limit.admit(ALICE)


def test_a_principal_is_one_caller_wherever_it_comes_from(clock: FakeClock, metrics: Metrics) -> None:
    limit = Rates(1.0, 1, clock, metrics)
    limit.admit(ALICE)
    refusal(limit, Caller(Principal("alice"), Scheme.OIDC, "198.51.100.9"))
    limit.admit(Caller(Principal("bob"), Scheme.PASSWORD, "192.0.2.1"))
    limit.admit(STRANGER)


def test_a_principal_that_is_named_like_an_address_is_not_that_address(clock: FakeClock, metrics: Metrics) -> None:
    limit = Rates(1.0, 1, clock, metrics)
    limit.admit(Caller(Principal("192.0.2.1"), Scheme.PASSWORD))
    limit.admit(STRANGER)


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, None, True),
        (None, "no address", True),
        (None, "192.0.2.1", False),
    ],
)
def test_strangers_are_told_apart_by_address(
    clock: FakeClock, metrics: Metrics, first: str | None, second: str | None, *, one: bool
) -> None:
    limit = Rates(1.0, 1, clock, metrics)
    limit.admit(Caller(address=first))
    assert admitted(limit, Caller(address=second), 1) == (0 if one else 1)


def test_no_more_callers_are_remembered_than_fit(
    clock: FakeClock, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_REMEMBERED", 3)
    limit = Rates(1.0, 1, clock, metrics)
    for number in (1, 2, 3):
        limit.admit(Caller(address=f"192.0.2.{number}"))
    refusal(limit, STRANGER)  # heard of again: the second is forgotten before it
    limit.admit(Caller(address="192.0.2.4"))
    refusal(limit, STRANGER)
    limit.admit(Caller(address="192.0.2.2"))


def test_without_a_rate_everybody_is_admitted(clock: FakeClock, metrics: Metrics) -> None:
    assert admitted(Rates(None, 1, clock, metrics), STRANGER, 1000) == 1000
    assert admitted(Rates.unlimited(), STRANGER, 1000) == 1000


def test_refusals_are_counted_by_scheme(clock: FakeClock, metrics: Metrics) -> None:
    limit = Rates(1.0, 1, clock, metrics)
    admitted(limit, ALICE, 3)
    admitted(limit, STRANGER, 2)
    counted = {
        scheme: metrics.registry.get_sample_value("pullthrough_requests_limited_total", {"scheme": scheme})
        for scheme in ("password", "none")
    }
    assert counted == {"password": 2.0, "none": 1.0}
