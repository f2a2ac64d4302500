"""The memory of refusals."""

from dataclasses import replace
from datetime import timedelta

import pytest

from proxy.config.addresses import parse_upstream
from proxy.core.negative import Asked, Refusals
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule, Remote
from tests.support.clock import FakeClock
from tests.unit.core.conftest import ACCOUNT

RULE = CacheRule("quay", parse_upstream("quay.io"))
HERE = Remote(RULE, RepositoryName("app/web"))
ELSEWHERE = Remote(RULE, RepositoryName("app/db"))
OTHER_RULE = Remote(CacheRule("quay2", parse_upstream("quay.io")), RepositoryName("app/web"))
MENDED = Remote(replace(RULE, credentials=ACCOUNT), RepositoryName("app/web"))

SCOPES = {
    UpstreamFailure.NOT_FOUND: {"same"},
    UpstreamFailure.DENIED: {"same", "other subject", "other kind"},
    UpstreamFailure.RATE_LIMITED: {"same", "other subject", "other repository"},
    UpstreamFailure.CREDENTIALS_REFUSED: {"same", "other subject", "other kind", "other repository"},
}
QUESTIONS = {
    "same": (HERE, Asked.MANIFEST, "latest"),
    "other subject": (HERE, Asked.MANIFEST, "v1"),
    "other kind": (HERE, Asked.BLOB, "latest"),
    "other repository": (ELSEWHERE, Asked.MANIFEST, "latest"),
    "other rule": (OTHER_RULE, Asked.MANIFEST, "latest"),
    "other account": (MENDED, Asked.MANIFEST, "latest"),
}


@pytest.fixture
def refusals(clock: FakeClock) -> Refusals:
    return Refusals(clock, timedelta(seconds=60))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("failure", list(UpstreamFailure))
def test_refusal_is_remembered_exactly_as_far_as_it_reaches(
    refusals: Refusals, failure: UpstreamFailure, question: str
) -> None:
    refusals.remember(HERE, Asked.MANIFEST, "latest", UpstreamError(failure, "no"))
    recalled = refusals.recall(*QUESTIONS[question])
    assert (recalled is not None) == (question in SCOPES.get(failure, set()))
    assert recalled is None or (recalled.failure, recalled.message) == (failure, "no")


@pytest.mark.parametrize("failure", list(SCOPES))
def test_refusal_is_forgotten_after_the_ttl_and_on_demand(
    refusals: Refusals, clock: FakeClock, failure: UpstreamFailure
) -> None:
    error = UpstreamError(failure, "no", retry_after=3600)
    refusals.remember(HERE, Asked.MANIFEST, "latest", error)
    clock.advance(59)
    assert refusals.recall(HERE, Asked.MANIFEST, "latest") is not None
    clock.advance(1)
    assert refusals.recall(HERE, Asked.MANIFEST, "latest") is None
    refusals.remember(HERE, Asked.MANIFEST, "latest", error)
    refusals.forget(HERE, Asked.MANIFEST, "latest")
    assert refusals.recall(HERE, Asked.MANIFEST, "latest") is None


@pytest.mark.parametrize(("given", "told"), [(30, [30, 20, 10, None]), (3600, [3600, 3590, 3580]), (None, [60, 50])])
def test_time_to_wait_runs_down(
    refusals: Refusals, clock: FakeClock, given: float | None, told: list[int | None]
) -> None:
    refusals.remember(
        HERE, Asked.BLOB, "x", UpstreamError(UpstreamFailure.RATE_LIMITED, "slow down", retry_after=given)
    )
    for seconds in told:
        recalled = refusals.recall(HERE, Asked.BLOB, "y")
        assert (recalled.retry_after if recalled is not None else None) == seconds
        clock.advance(10)
