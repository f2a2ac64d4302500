"""From what an upstream showed to a verdict that says what to mend."""

import re
from dataclasses import replace

import pytest

from proxy.config.addresses import parse_upstream
from proxy.core.policy import Policy
from proxy.core.probe_ports import Access, Allowance, Probe, Sample
from proxy.core.rules import RuleSet
from proxy.core.validation import DOCKER_HUB_PREVIEW, LATEST, RuleValidator, explain, find_sample, judge
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule

QUAY = CacheRule("quay", parse_upstream("quay.io"))
HUB = CacheRule("hub", parse_upstream("registry-1.docker.io"))
PRIVATE = replace(QUAY, credentials=UserPassword("u", SecretSource(env="TOKEN")))
APP = Sample(RepositoryName("team/app"), LATEST)
PREVIEW = Sample(DOCKER_HUB_PREVIEW, LATEST)


class ScriptedProbe:
    """The `UpstreamProbe` port with a fixed answer and a journal."""

    def __init__(self, probe: Probe) -> None:
        self.answer = probe
        self.asked: list[tuple[str, Sample | None]] = []

    async def probe(self, rule: CacheRule, sample: Sample | None) -> Probe:
        self.asked.append((rule.prefix, sample))
        return self.answer


def failed(failure: UpstreamFailure, retry_after: float | None = None) -> UpstreamError:
    return UpstreamError(failure, "what happened", retry_after=retry_after)


# Sentences whose messages say it all are the upstream client's own, and are shown in its tests.
@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (UpstreamFailure.UNREACHABLE, None),
        (UpstreamFailure.DENIED, None),
        (UpstreamFailure.REFUSED_TARGET, None),
        (UpstreamFailure.TIMEOUT, "`upstreams.connect_timeout`"),
        (UpstreamFailure.SERVER_ERROR, "try again later"),
        (UpstreamFailure.GARBAGE, "check that `upstream` of rule quay is the host of a registry's API"),
        (UpstreamFailure.UNSUPPORTED, "check that `upstream` of rule quay is the host of a registry's API"),
        (UpstreamFailure.RATE_LIMITED, "try again later, or give rule quay `credentials`"),
        (UpstreamFailure.CREDENTIALS_REFUSED, "check user name and password in `credentials` of rule quay"),
        (UpstreamFailure.NOT_FOUND, "as it is called below rule quay"),
        (UpstreamFailure.OFFLINE, "take that out to have rule quay asked"),
        (UpstreamFailure.OVERLOADED, "raise `max_connections` of rule quay"),
        (UpstreamFailure.CIRCUIT_OPEN, "`upstreams.breaker_reset`"),
    ],
)
def test_each_failure_is_told_with_its_remedy(failure: UpstreamFailure, remedy: str | None) -> None:
    sentence = explain(failed(failure), QUAY)
    if remedy is None:
        assert sentence == "what happened"
    else:
        assert sentence.startswith("what happened; ")
        assert remedy in sentence


def test_no_failure_is_without_a_sentence() -> None:
    for failure in UpstreamFailure:
        sentence = explain(failed(failure), QUAY)
        assert sentence.startswith("what happened")
        assert re.search(r"[{}]", sentence) is None


def test_a_time_to_wait_is_told_and_credentials_are_not_recommended_to_who_has_them() -> None:
    assert explain(failed(UpstreamFailure.RATE_LIMITED, 90.4), PRIVATE) == "what happened; try again in 90 s"
    assert explain(failed(UpstreamFailure.CIRCUIT_OPEN, 0.2), PRIVATE).startswith("what happened; try again in 1 s")


@pytest.mark.parametrize(
    ("probe", "answers", "valid", "hint"),
    [
        (Probe(0.1, Access.WORKS), True, True, False),
        (Probe(0.1, Access.NOT_NEEDED), True, True, False),
        (Probe(0.1, Access.NONE), True, True, True),
        (Probe(None, Access.UNTESTED, error=failed(UpstreamFailure.UNREACHABLE)), False, False, False),
        (Probe(0.1, Access.REFUSED, error=failed(UpstreamFailure.CREDENTIALS_REFUSED)), True, False, False),
        (Probe(0.1, Access.NONE, error=failed(UpstreamFailure.DENIED)), True, False, False),
        (Probe(0.1, Access.UNTESTED, error=failed(UpstreamFailure.GARBAGE)), True, False, False),
    ],
)
def test_a_rule_is_valid_exactly_where_nothing_failed(probe: Probe, *, answers: bool, valid: bool, hint: bool) -> None:
    found = judge(QUAY, probe, None, chosen=False)
    assert (found.answers, found.is_valid, found.failure is None) == (answers, valid, valid)
    assert (found.access, found.latency) == (probe.access, probe.latency)
    assert (found.hint is not None) == hint
    assert found.repository is None


def test_an_image_that_may_be_pulled_answers_for_a_rule_without_credentials() -> None:
    found = judge(QUAY, Probe(0.1, Access.NONE, sampled=True), APP, chosen=True)
    assert (found.is_valid, found.repository, found.hint) == (True, "team/app", None)


@pytest.mark.parametrize("failure", [UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED])
def test_an_image_that_is_missing_or_barred_matters_where_it_was_chosen(failure: UpstreamFailure) -> None:
    probe = Probe(0.1, Access.WORKS, sampled=True, error=failed(failure))
    chosen = judge(HUB, probe, APP, chosen=True)
    assert (chosen.is_valid, chosen.repository) == (False, "team/app")
    customary = judge(HUB, probe, PREVIEW, chosen=False)
    assert (customary.is_valid, customary.failure, customary.repository) == (True, None, None)
    before = replace(probe, sampled=False)
    assert not judge(HUB, before, PREVIEW, chosen=False).is_valid


def test_a_limit_that_is_used_up_is_a_failure_whatever_image_showed_it() -> None:
    probe = Probe(0.1, Access.NONE, sampled=True, error=failed(UpstreamFailure.RATE_LIMITED))
    assert not judge(HUB, probe, PREVIEW, chosen=False).is_valid


async def test_the_limit_of_docker_hub_is_read_from_the_repository_that_it_keeps_for_that() -> None:
    port = ScriptedProbe(Probe(0.1, Access.NONE, sampled=True, allowance=Allowance(100, 97, 21600)))
    found = await RuleValidator(port, Policy()).validate(RuleSet([HUB]), HUB, None)
    assert port.asked == [("hub", PREVIEW)]
    assert (found.allowance, found.repository) == (Allowance(100, 97, 21600), DOCKER_HUB_PREVIEW)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (replace(HUB, allow=("library/*",)), None),
        (replace(HUB, deny=("ratelimitpreview/**",)), None),
        (QUAY, None),
        (HUB, APP),
        (QUAY, APP),
    ],
)
async def test_nothing_else_is_asked_than_what_the_rule_permits_or_somebody_chose(
    rule: CacheRule, wanted: Sample | None
) -> None:
    port = ScriptedProbe(Probe(0.1, Access.NONE))
    await RuleValidator(port, Policy()).validate(RuleSet([rule]), rule, wanted)
    assert port.asked == [(rule.prefix, wanted)]


@pytest.mark.parametrize(
    ("rule", "policy", "where"),
    [(replace(QUAY, offline=True), Policy(), "rule quay"), (QUAY, Policy(offline=True), "`upstreams`")],
)
async def test_a_rule_that_is_offline_is_not_asked_and_says_so(rule: CacheRule, policy: Policy, where: str) -> None:
    port = ScriptedProbe(Probe(0.1, Access.WORKS))
    found = await RuleValidator(port, policy).validate(RuleSet([rule]), rule, None)
    assert port.asked == []
    assert (found.is_valid, found.answers, found.access) == (False, False, Access.UNTESTED)
    assert found.failure == f"nothing was asked: `offline` is set for {where}; take that out to have rule quay asked"


def test_an_image_is_named_below_the_prefix_as_clients_name_it() -> None:
    chain = CacheRule("cg", parse_upstream("cgr.dev"), upstream_prefix="example.com")
    rules = RuleSet([HUB, chain], hosted=["cg/own"])
    assert find_sample(rules, HUB, RepositoryName("nginx")) == Sample(RepositoryName("library/nginx"), LATEST)
    assert find_sample(rules, chain, RepositoryName("nginx"), Tag("1")) == Sample(
        RepositoryName("example.com/nginx"), Tag("1")
    )
    with pytest.raises(ProxyError, match="hosted here") as raised:
        find_sample(rules, chain, RepositoryName("own"))
    assert raised.value.code is ErrorCode.NAME_UNKNOWN


def test_an_image_that_the_rule_keeps_back_is_no_sample() -> None:
    rule = replace(QUAY, deny=("secret/**",))
    with pytest.raises(ProxyError) as raised:
        find_sample(RuleSet([rule]), rule, RepositoryName("secret/a"))
    assert raised.value.code is ErrorCode.DENIED
