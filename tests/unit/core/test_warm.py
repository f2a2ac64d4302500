"""Answers from memory: given again while nothing has changed, and at no other time."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from proxy.config.addresses import parse_upstream
from proxy.core.freshness import Span
from proxy.core.rules import Address, Resolution, RuleSet
from proxy.core.warm import ContentMemory, WarmAnswers
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule, Remote
from proxy.telemetry.metrics import Metrics

RAW = b"a manifest"
DIGEST = Digest.of(RAW)
LATEST = Tag("latest")
QUAY = CacheRule("quay", parse_upstream("quay.io"))
NOW = 1_000.0


class Changes:
    """The `Changes` port: the test says when something was written."""

    number = 0

    def generation(self) -> object:
        return self.number


def resolve(rule: CacheRule | None = QUAY, name: str = "quay/app") -> Resolution:
    return RuleSet([rule] if rule is not None else []).resolve(Address(RepositoryName(name)))


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def warm(changes: Changes, metrics: Metrics) -> WarmAnswers[str]:
    return WarmAnswers("manifest", changes, ContentMemory(1 << 20, metrics))


def keep(warm: WarmAnswers[str], resolution: Resolution, reference: Tag | Digest = LATEST) -> None:
    warm.keep(resolution, reference, warm.start(), "answer", (DIGEST, RAW))


def test_an_answer_is_given_again_for_the_same_question(warm: WarmAnswers[str]) -> None:
    assert warm.find(resolve(), LATEST, NOW) is None
    keep(warm, resolve())

    assert warm.find(resolve(), LATEST, NOW) == ("answer", RAW)
    assert warm.find(resolve(), Tag("other"), NOW) is None
    assert warm.find(resolve(), DIGEST, NOW) is None


def test_any_write_puts_all_answers_out_of_use(warm: WarmAnswers[str], changes: Changes) -> None:
    keep(warm, resolve())
    keep(warm, resolve(), DIGEST)
    changes.number += 1

    assert warm.find(resolve(), LATEST, NOW) is None
    assert warm.find(resolve(), DIGEST, NOW) is None
    keep(warm, resolve())
    assert warm.find(resolve(), LATEST, NOW) == ("answer", RAW)


def test_an_answer_that_was_looked_up_while_something_was_written_is_not_given(
    warm: WarmAnswers[str], changes: Changes
) -> None:
    start = warm.start()
    changes.number += 1
    warm.keep(resolve(), LATEST, start, "old", (DIGEST, RAW))

    assert warm.find(resolve(), LATEST, NOW) is None


def test_an_answer_is_given_only_in_its_span(warm: WarmAnswers[str]) -> None:
    warm.keep(resolve(), LATEST, warm.start(), "answer", (DIGEST, RAW), Span(NOW, 300.0))

    assert warm.find(resolve(), LATEST, NOW) is not None
    assert warm.find(resolve(), LATEST, NOW + 299.9) is not None
    assert warm.find(resolve(), LATEST, NOW + 300) is None
    assert warm.find(resolve(), LATEST, NOW - 0.1) is None  # the clock was set back


@pytest.mark.parametrize(
    "other",
    [
        lambda: resolve(replace(QUAY, revalidate_after=timedelta(seconds=1))),
        lambda: resolve(replace(QUAY, upstream=parse_upstream("ghcr.io"))),
        lambda: resolve(replace(QUAY, upstream_prefix="team")),
        lambda: resolve(replace(QUAY, push=True)),
        lambda: resolve(None),
        lambda: resolve(QUAY, "quay/other"),
        lambda: resolve(replace(QUAY, prefix="quay2"), "quay2/app"),
        lambda: replace(resolve(), remote=Remote(QUAY, RepositoryName("elsewhere"))),
    ],
    ids=["reloaded rule", "upstream", "upstream prefix", "pushes", "hosted", "repository", "rule", "upstream name"],
)
def test_two_resolutions_share_no_answer(warm: WarmAnswers[str], other: Callable[[], Resolution]) -> None:
    one, two = resolve(), other()
    keep(warm, one)
    assert warm.find(two, LATEST, NOW) is None

    warm.keep(two, LATEST, warm.start(), "of two", (DIGEST, RAW))
    assert warm.find(two, LATEST, NOW) == ("of two", RAW)
    assert warm.find(one, LATEST, NOW) in {None, ("answer", RAW)}


def test_a_tag_that_looks_like_a_digest_is_none(warm: WarmAnswers[str]) -> None:
    keep(warm, resolve(), Tag(DIGEST.encoded))
    assert warm.find(resolve(), DIGEST, NOW) is None


def test_whether_the_caller_may_cause_a_fetch_makes_no_difference(warm: WarmAnswers[str]) -> None:
    keep(warm, resolve())
    found = resolve()
    assert found.remote is not None

    assert warm.find(replace(found, remote=replace(found.remote, may_fetch=False)), LATEST, NOW) == ("answer", RAW)


def test_content_that_went_takes_its_answers_along(changes: Changes) -> None:
    memory = ContentMemory(10_000, Metrics())
    warm: WarmAnswers[str] = WarmAnswers("manifest", changes, memory)
    keep(warm, resolve())
    memory.put(Digest.of(b"large"), bytes(9_995))

    assert memory.get(DIGEST) is None
    assert warm.find(resolve(), LATEST, NOW) is None


def test_memory_holds_what_it_may_and_says_how_much(metrics: Metrics) -> None:
    memory = ContentMemory(100, metrics)
    for number in range(20):
        memory.put(Digest.of(bytes([number])), bytes(30))
    memory.put(Digest.of(b"large"), bytes(101))

    held = [number for number in range(20) if memory.get(Digest.of(bytes([number]))) is not None]
    assert held == [17, 18, 19]
    assert memory.get(Digest.of(b"large")) is None
    assert metrics.registry.get_sample_value("pullthrough_memory_bytes") == 90


def test_memory_lets_go_of_what_was_not_asked_for_the_longest(metrics: Metrics) -> None:
    memory = ContentMemory(100, metrics)
    first, second, third, fourth = (Digest.of(bytes([number])) for number in range(4))
    for digest in (first, second, third, third):
        memory.put(digest, bytes(30))
    assert metrics.registry.get_sample_value("pullthrough_memory_bytes") == 90
    memory.get(first)
    memory.put(fourth, bytes(30))

    assert [digest for digest in (first, second, third, fourth) if memory.get(digest) is None] == [second]


def test_answers_that_were_not_asked_for_the_longest_go_first(changes: Changes) -> None:
    warm: WarmAnswers[str] = WarmAnswers("manifest", changes, ContentMemory(3 * 4096, Metrics()))
    first, second, third, fourth = (Tag(f"v{number}") for number in range(4))
    for tag in (first, second, third):
        keep(warm, resolve(), tag)
    warm.find(resolve(), first, NOW)
    keep(warm, resolve(), fourth)

    assert [tag for tag in (first, second, third, fourth) if warm.find(resolve(), tag, NOW) is None] == [second]


def test_the_number_of_answers_is_bounded(changes: Changes) -> None:
    warm: WarmAnswers[str] = WarmAnswers("manifest", changes, ContentMemory(40_000, Metrics()))
    for number in range(1_000):
        keep(warm, resolve(), Tag(f"v{number}"))

    given = [number for number in range(1_000) if warm.find(resolve(), Tag(f"v{number}"), NOW) is not None]
    assert 0 < len(given) < 40_000 // 1_000
    assert given[-1] == 999


def test_no_memory_keeps_nothing(changes: Changes) -> None:
    memory = ContentMemory(0, Metrics())
    warm: WarmAnswers[str] = WarmAnswers("manifest", changes, memory)
    keep(warm, resolve())

    assert (warm.on, warm.find(resolve(), LATEST, NOW), memory.get(DIGEST)) == (False, None, None)


def test_hits_and_misses_are_counted(warm: WarmAnswers[str], metrics: Metrics) -> None:
    def counted(outcome: str) -> float | None:
        labels = {"kind": "manifest", "outcome": outcome}
        return metrics.registry.get_sample_value("pullthrough_warm_answers_total", labels)

    warm.find(resolve(), LATEST, NOW)
    assert (counted("hit"), counted("miss")) == (0, 0)  # what is not kept afterwards could not have been warm
    keep(warm, resolve())
    warm.find(resolve(), LATEST, NOW)
    warm.find(resolve(), LATEST, NOW)
    assert (counted("hit"), counted("miss")) == (2, 1)
