"""How many pulls are left, as Docker Hub tells it."""

import pytest

from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.telemetry.metrics import Metrics
from proxy.upstream.budgets import PullBudgets
from proxy.upstream.client import UpstreamClient
from tests.support.clock import FakeClock
from tests.support.upstream_registry import manifest_bytes
from tests.support.upstream_rules import counted, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing

HUB = "registry-1.docker.io"
REMOTE = remote_of(HUB, "library/nginx")
ACCOUNT = remote_of(HUB, "library/nginx", credentials=UserPassword("alice", SecretSource(env="X")))


@pytest.fixture
def budgets(clock: FakeClock, metrics: Metrics) -> PullBudgets:
    return PullBudgets(10, clock, metrics)


def told(remaining: str) -> dict[str, str]:
    return {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": remaining}


@pytest.mark.parametrize(
    ("remaining", "low"),
    [("100;w=21600", False), ("10;w=21600", False), ("9;w=21600", True), ("0", True), ("9 ; w=5", True)],
)
def test_below_the_floor_the_budget_is_low(budgets: PullBudgets, remaining: str, low: bool) -> None:  # noqa: FBT001 - a table
    budgets.note(REMOTE.rule, 200, told(remaining))
    assert budgets.is_low(REMOTE.rule) is low


@pytest.mark.parametrize("remaining", ["", "-1", "many", "9;w=x", "9" * 40, "9,8"])
def test_what_makes_no_sense_says_nothing(budgets: PullBudgets, remaining: str) -> None:
    budgets.note(REMOTE.rule, 200, told(remaining))
    assert not budgets.is_low(REMOTE.rule)


def test_nothing_is_known_of_a_registry_that_told_nothing(budgets: PullBudgets) -> None:
    assert not budgets.is_low(REMOTE.rule)


def test_accounts_have_budgets_of_their_own_and_rules_share_them(budgets: PullBudgets) -> None:
    budgets.note(REMOTE.rule, 200, told("3;w=21600"))
    assert not budgets.is_low(ACCOUNT.rule)
    assert budgets.is_low(remote_of(HUB, prefix="other").rule)


def test_a_paid_account_has_no_limit_any_more(budgets: PullBudgets) -> None:
    budgets.note(REMOTE.rule, 200, told("3;w=21600"))
    budgets.note(REMOTE.rule, 404, {})
    assert budgets.is_low(REMOTE.rule)  # only content tells that there are no fields
    budgets.note(REMOTE.rule, 200, {})
    assert not budgets.is_low(REMOTE.rule)


@pytest.mark.parametrize(("window", "seconds"), [("w=60", 60), ("w=21600", 900)])
def test_a_reading_ends_with_its_window_or_after_a_quarter_of_an_hour(
    budgets: PullBudgets, clock: FakeClock, window: str, seconds: float
) -> None:
    budgets.note(REMOTE.rule, 200, {"ratelimit-limit": f"100;{window}", "ratelimit-remaining": f"3;{window}"})
    clock.advance(seconds - 1)
    assert budgets.is_low(REMOTE.rule)
    clock.advance(2)
    assert not budgets.is_low(REMOTE.rule)


def test_after_a_429_the_refusal_speaks_for_itself(budgets: PullBudgets) -> None:
    budgets.note(REMOTE.rule, 200, told("1;w=21600"))
    budgets.note(REMOTE.rule, 429, told("0;w=21600"))
    assert not budgets.is_low(REMOTE.rule)


async def test_the_client_reads_every_answer_about_a_manifest(
    client: UpstreamClient, server: UpstreamServer, metrics: Metrics
) -> None:
    for method, remaining, hesitates in (("HEAD", 5, "budget"), ("GET", 50, None), ("HEAD", 4, "budget")):
        script = answering(200, manifest_bytes(), told(f"{remaining};w=21600"), content_type=OCI_MANIFEST)
        server.script(HUB, script, method=method, times=1)
        ask = client.head_manifest if method == "HEAD" else client.get_manifest
        await ask(REMOTE, Tag("latest"), retry=False)
        assert client.hesitates(REMOTE) == hesitates
        assert counted(metrics, "pullthrough_ratelimit_remaining", rule="up") == remaining
    assert client.hesitates(ACCOUNT) is None
    server.script(HUB, failing(429, "TOOMANYREQUESTS", headers=told("0;w=21600")))
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(REMOTE, Tag("latest"), retry=False)
    assert caught.value.failure is UpstreamFailure.RATE_LIMITED
    assert client.hesitates(REMOTE) is None
