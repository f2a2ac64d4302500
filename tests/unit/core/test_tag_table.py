"""The table "upstream says x tag is cached or not", cell by cell, through the service."""

import asyncio
from datetime import timedelta

import pytest

from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import OnUpstream404
from tests.support.documents import image
from tests.unit.core.conftest import ACCOUNT, SOURCE, Bench

LATEST = Tag("latest")
EVERY_FAILURE = sorted(UpstreamFailure)

UNCACHED = {
    UpstreamFailure.UNREACHABLE: (ErrorCode.UPSTREAM_UNAVAILABLE, 502),
    UpstreamFailure.TIMEOUT: (ErrorCode.UPSTREAM_TIMEOUT, 504),
    UpstreamFailure.SERVER_ERROR: (ErrorCode.UPSTREAM_UNAVAILABLE, 502),
    UpstreamFailure.CIRCUIT_OPEN: (ErrorCode.UPSTREAM_UNAVAILABLE, 502),
    UpstreamFailure.GARBAGE: (ErrorCode.UPSTREAM_INVALID, 502),
    UpstreamFailure.RATE_LIMITED: (ErrorCode.TOOMANYREQUESTS, 429),
    UpstreamFailure.OVERLOADED: (ErrorCode.TOOMANYREQUESTS, 429),
    UpstreamFailure.CREDENTIALS_REFUSED: (ErrorCode.DENIED, 403),
    UpstreamFailure.DENIED: (ErrorCode.NAME_UNKNOWN, 404),
    UpstreamFailure.NOT_FOUND: (ErrorCode.MANIFEST_UNKNOWN, 404),
    UpstreamFailure.UNSUPPORTED: (ErrorCode.UPSTREAM_INVALID, 502),
    UpstreamFailure.REFUSED_TARGET: (ErrorCode.UPSTREAM_INVALID, 502),
    UpstreamFailure.OFFLINE: (ErrorCode.MANIFEST_UNKNOWN, 404),
    UpstreamFailure.NOT_PERMITTED: (ErrorCode.DENIED, 403),
}


def test_table_has_a_row_for_every_failure() -> None:
    assert set(UNCACHED) == set(UpstreamFailure)


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("failure", EVERY_FAILURE)
async def test_uncached_tag_gives_the_error_of_the_table(bench: Bench, failure: UpstreamFailure, method: str) -> None:
    bench.upstream.fail(failure)
    with pytest.raises(ProxyError) as raised:
        await getattr(bench.manifests, method)(bench.resolve(), LATEST)
    code, status = UNCACHED[failure]
    assert (raised.value.code, raised.value.code.status) == (code, status)
    assert ("Retry-After" in raised.value.headers) == (status == 429)
    assert raised.value.code.status != 401


@pytest.mark.parametrize("failure", EVERY_FAILURE)
async def test_cached_tag_is_served_stale_whatever_fails(bench: Bench, failure: UpstreamFailure) -> None:
    digest = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.upstream.fail(failure)

    answer = await bench.manifests.get(bench.resolve(), LATEST)

    assert (answer.raw, answer.digest) == (image(), digest)
    assert answer.status.stale == failure.value
    assert answer.warning is not None
    assert "quay.io" in answer.warning
    assert "2023-11-14 22:13:20 UTC" in answer.warning
    record = await bench.metadata.tag(bench.resolve().repository, LATEST)
    assert record is not None
    assert (record.outcome, record.failed_at) == (failure.value, bench.clock.now())
    served = bench.metrics.registry.get_sample_value(
        "pullthrough_stale_served_total", {"rule": "quay", "reason": failure.value}
    )
    assert served == 1


@pytest.mark.parametrize("failure", EVERY_FAILURE)
async def test_failed_check_is_not_repeated_for_a_minute(bench: Bench, failure: UpstreamFailure) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.upstream.fail(failure)
    await bench.manifests.get(bench.resolve(), LATEST)
    asked = len(bench.upstream.requests)

    bench.clock.advance(59)
    again = await bench.manifests.get(bench.resolve(), LATEST)
    assert (again.status.stale, len(bench.upstream.requests)) == (failure.value, asked)

    bench.clock.advance(17)  # 60 s and the longest jitter
    bench.upstream.recover()
    assert (await bench.manifests.get(bench.resolve(), LATEST)).status.outcome == "revalidated"


async def test_denied_with_credentials_is_403_that_names_upstream_and_remedy(bench: Bench) -> None:
    bench.with_rule(credentials=ACCOUNT)
    bench.upstream.fail(UpstreamFailure.DENIED)
    with pytest.raises(ProxyError, match=r"quay\.io/app/web does not exist, or the account of rule quay") as raised:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert raised.value.code is ErrorCode.DENIED
    assert "robot" not in raised.value.message


async def test_denied_without_credentials_says_that_it_may_be_private(bench: Bench) -> None:
    bench.upstream.fail(UpstreamFailure.DENIED)
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert raised.value.message == "quay.io/app/web does not exist, or is private and rule quay has no credentials"


async def test_denied_is_403_with_the_character_of_ecr(bench: Bench) -> None:
    bench.with_character(ecr=True)
    bench.upstream.fail(UpstreamFailure.DENIED)
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert raised.value.code is ErrorCode.DENIED


async def test_refused_credentials_name_the_rule_to_mend(bench: Bench) -> None:
    bench.with_rule(credentials=ACCOUNT)
    bench.upstream.fail(UpstreamFailure.CREDENTIALS_REFUSED)
    with pytest.raises(ProxyError, match=r"quay\.io refused the credentials of the rule quay"):
        await bench.manifests.get(bench.resolve(), LATEST)


async def test_rate_limit_is_answered_from_memory_with_less_and_less_to_wait(bench: Bench) -> None:
    bench.upstream.fail(UpstreamFailure.RATE_LIMITED, retry_after=40)
    waits = []
    for tag in ("a", "b", "c"):
        with pytest.raises(ProxyError) as raised:
            await bench.manifests.get(bench.resolve(), Tag(tag))
        waits.append(raised.value.headers["Retry-After"])
        bench.clock.advance(15)
    assert waits == ["40", "25", "10"]
    assert len(bench.upstream.requests) == 1

    bench.upstream.recover()
    bench.web.put(image(), "d")
    assert (await bench.manifests.get(bench.resolve(), Tag("d"))).raw == image()


@pytest.mark.parametrize(
    ("failure", "others"),
    [
        (UpstreamFailure.NOT_FOUND, 2),  # per tag
        (UpstreamFailure.DENIED, 1),  # per repository
        (UpstreamFailure.CREDENTIALS_REFUSED, 1),
        (UpstreamFailure.TIMEOUT, 3),  # not remembered
        (UpstreamFailure.GARBAGE, 3),
    ],
)
async def test_refusals_are_remembered_for_what_they_say(bench: Bench, failure: UpstreamFailure, others: int) -> None:
    bench.upstream.fail(failure)
    for tag in ("latest", "latest", "other"):
        with pytest.raises(ProxyError):
            await bench.manifests.get(bench.resolve(), Tag(tag))
    assert len(bench.upstream.requests) == others


async def test_refusal_is_forgotten_after_the_ttl(bench: Bench) -> None:
    with pytest.raises(ProxyError):
        await bench.manifests.get(bench.resolve(), LATEST)
    bench.web.put(image(), "latest")
    bench.clock.advance(59)
    with pytest.raises(ProxyError):
        await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(2)
    assert (await bench.manifests.get(bench.resolve(), LATEST)).raw == image()


async def test_not_found_answers_404_for_a_tag_that_is_gone_upstream(bench: Bench) -> None:
    bench.with_rule(on_upstream_404=OnUpstream404.NOT_FOUND)
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    del bench.web.tags["latest"]
    for failure in (None, UpstreamFailure.TIMEOUT):
        if failure is not None:
            bench.upstream.fail(failure)
        with pytest.raises(ProxyError) as raised:
            await bench.manifests.get(bench.resolve(), LATEST)
        assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN
        bench.clock.advance(76)

    bench.upstream.recover()
    bench.web.put(image(), "latest")
    assert (await bench.manifests.get(bench.resolve(), LATEST)).status.outcome == "revalidated"


async def test_purge_removes_the_tag_after_two_certain_404s_an_hour_apart(bench: Bench) -> None:
    bench.with_rule(on_upstream_404=OnUpstream404.PURGE)
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    del bench.web.tags["latest"]
    for wait in (1800, 1799, 76):
        assert (await bench.manifests.get(bench.resolve(), LATEST)).status.stale == "not_found"
        bench.clock.advance(wait)
    with pytest.raises(ProxyError) as raised:
        await bench.manifests.get(bench.resolve(), LATEST)
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN
    assert await bench.metadata.tag(bench.resolve().repository, LATEST) is None


async def test_purge_begins_anew_when_the_tag_was_seen_in_between(bench: Bench) -> None:
    bench.with_rule(on_upstream_404=OnUpstream404.PURGE)
    digest = bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    for _ in range(3):
        bench.web.tags.pop("latest", None)
        bench.clock.advance(3601)
        assert (await bench.manifests.get(bench.resolve(), LATEST)).status.stale == "not_found"
        bench.web.tags["latest"] = digest
        bench.clock.advance(76)
        assert (await bench.manifests.get(bench.resolve(), LATEST)).status.outcome == "revalidated"


async def test_offline_rule_makes_no_request_and_serves_what_is_kept(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.with_rule(offline=True)
    asked = len(bench.upstream.requests)

    fresh = await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    old = await bench.manifests.refresh(bench.resolve(), LATEST)
    with pytest.raises(ProxyError, match="the rule quay is set offline") as raised:
        await bench.manifests.get(bench.resolve(), Tag("other"))

    assert (fresh.status.outcome, old.status.stale) == ("hit", "offline")
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN
    assert len(bench.upstream.requests) == asked


async def test_slow_check_serves_the_stale_copy_and_goes_on_detached(bench: Bench) -> None:
    bench.with_rule(stale_after=timedelta(0))
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    moved = bench.web.put(image(b'{"new":1}'), "latest")
    bench.upstream.open_gate.clear()

    for _ in range(3):
        answer = await bench.manifests.get(bench.resolve(), LATEST)
        assert (answer.raw, answer.status.stale) == (image(), "timeout")
    assert [request.method for request in bench.upstream.requests] == ["GET", "HEAD"]

    bench.upstream.open_gate.set()
    await bench.tasks.drain(5)
    answer = await bench.manifests.get(bench.resolve(), LATEST)
    assert (answer.digest, answer.status.outcome) == (moved, "hit")


async def test_who_comes_late_to_a_slow_check_does_not_wait_for_it(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.upstream.asked.clear()
    bench.upstream.open_gate.clear()
    async with asyncio.TaskGroup() as group:
        patient = group.create_task(bench.manifests.get(bench.resolve(), LATEST))
        await bench.upstream.asked.wait()
        bench.clock.advance(31)  # stale_after is 30 s
        late = await bench.manifests.get(bench.resolve(), LATEST)
        assert not patient.done()
        bench.upstream.open_gate.set()
    assert (late.status.stale, patient.result().status.outcome) == ("timeout", "revalidated")


async def test_kept_tag_is_checked_with_one_attempt_and_a_first_pull_with_several(bench: Bench) -> None:
    bench.web.put(image(), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    bench.clock.advance(301)
    bench.web.put(image(b'{"new":1}'), "latest")
    await bench.manifests.get(bench.resolve(), LATEST)
    assert [(request.method, request.retry) for request in bench.upstream.requests] == [
        ("GET", True),
        ("HEAD", False),
        ("GET", False),
    ]
    assert {request.source for request in bench.upstream.requests} == {SOURCE}
