"""Who may do what, over generated grants and policies: what holds whatever they say."""

import asyncio
from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.config.addresses import parse_upstream
from proxy.config.auth import GrantSettings
from proxy.core.access.caller import Caller
from proxy.core.access.grants import Grants
from proxy.core.rules import RuleBook, RuleSet
from proxy.model.access import Action
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule
from tests.support.access import ACCOUNT, ALICE, BOB, NOBODY, Gate, grant, policy, resource, statement

PRIVATE = CacheRule("b", parse_upstream("ghcr.io"), UserPassword("robot", SecretSource(env="X")))
RULES = RuleBook(RuleSet([PRIVATE, CacheRule("c", parse_upstream("quay.io"))]))

# Few values of everything, so that all of them meet.
callers = st.sampled_from([ALICE, BOB, NOBODY, replace(ALICE, principal=Principal("oidc:alice"))])
actions = st.sampled_from(list(Action))
names = st.sampled_from(["a", "a/x", "b/x", "b/x/y", "c/x", "ab/x"])
patterns = st.sampled_from(["**", "*", "*/**", "a/**", "b/**", "b/*", "a*/*", "*/x"])
principals = st.sampled_from(["*", "alice", "bob", "anonymous", "al*", "oidc:*", "*alice"])
grants = st.lists(
    st.builds(
        lambda who, what, where: GrantSettings.model_validate(
            {"principals": who, "actions": what, "repositories": where}
        ),
        st.lists(principals, min_size=1, max_size=2),
        st.lists(actions, min_size=1, max_size=3),
        st.lists(patterns, min_size=1, max_size=2),
    ),
    max_size=4,
)
conditions: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"StringEquals": {"aws:username": "alice"}},
        {"StringNotEquals": {"aws:username": "alice"}},
        {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
        {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
        {"StringEquals": {"aws:RequestTag/x": "y"}},
        {"Null": {"aws:SourceVpc": "true"}},
    ]
)
named = st.sampled_from(["*", {"AWS": ACCOUNT}, "alice", "bob", "oidc:alice", "carol"])
operations = st.sampled_from(
    ["*", "ecr:*", "ecr:BatchGetImage", "ecr:PutImage", "ecr:Batch*", "ecr:SetRepositoryPolicy"]
)
places = st.sampled_from(["*", resource("*"), resource("a/*"), resource("b/*"), resource("*/x")])


def _statement(effect: str, who: object, what: str, where: str | None, when: dict[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = {"Condition": when} if when else {}
    return statement(effect, who, what, **({"Resource": where} if where else {}), **more)


effects = st.sampled_from(["Allow", "Deny"])
hung = st.builds(_statement, effects, named, operations, st.none(), conditions)
kept = st.builds(_statement, effects, named, operations, places, conditions)
policies = st.tuples(st.lists(hung, max_size=3), st.lists(kept, max_size=3))
Policies = tuple[list[dict[str, Any]], list[dict[str, Any]]]


async def _decide(given_: list[GrantSettings], said: Policies, caller: Caller, action: Action, name: str) -> bool:
    gate = Gate(RULES)
    gate.grant(*given_)
    if said[0]:
        await gate.hang(name, policy(*said[0]))
    if said[1]:
        await gate.policies.set_registry_policy(policy(*said[1]))
    return await gate.may(caller, action, name)


def decide(given_: list[GrantSettings], said: Policies, caller: Caller, action: Action, name: str) -> bool:
    return asyncio.run(_decide(given_, said, caller, action, name))


@given(grants, policies, callers, actions, names)
def test_a_deny_that_fits_wins_over_everything(
    given_: list[GrantSettings], said: Policies, caller: Caller, action: Action, name: str
) -> None:
    assume(action is not Action.METRICS)  # of which ECR has no operation
    everyone = statement("Deny", "*")
    assert not decide(given_, ([*said[0], everyone], said[1]), caller, action, name)
    assert not decide(given_, (said[0], [{**everyone, "Resource": "*"}, *said[1]]), caller, action, name)


@given(grants, policies, callers, actions, names, effects)
def test_a_statement_that_does_not_fit_changes_nothing(
    given_: list[GrantSettings], said: Policies, caller: Caller, action: Action, name: str, effect: str
) -> None:
    before = decide(given_, said, caller, action, name)
    others = [
        statement(effect, "zoe"),
        statement(effect, "*", "ecr:DescribeImageScanFindings"),
        statement(effect, "*", Condition={"StringEquals": {"aws:RequestedRegion": "mars"}}),
    ]
    elsewhere = statement(effect, "*", Resource=resource("zoo/*"))
    assert decide(given_, ([*others, *said[0]], [elsewhere, *said[1]]), caller, action, name) == before


@given(grants, policies, callers, actions, names, hung)
def test_an_allow_only_adds_and_a_deny_only_takes(
    given_: list[GrantSettings], said: Policies, caller: Caller, action: Action, name: str, more: dict[str, Any]
) -> None:
    before = decide(given_, said, caller, action, name)
    after = decide(given_, ([*said[0], more], said[1]), caller, action, name)
    assert after >= before if more["Effect"] == "Allow" else after <= before


@given(grants, policies, callers, actions, names, st.randoms())
def test_the_order_of_statements_and_grants_means_nothing(
    given_: list[GrantSettings],
    said: Policies,
    caller: Caller,
    action: Action,
    name: str,
    random: Any,  # noqa: ANN401 - as hypothesis has it
) -> None:
    before = decide(given_, said, caller, action, name)
    shuffled: Any = [list(given_), list(said[0]), list(said[1])]
    for each in shuffled:
        random.shuffle(each)
    assert decide(shuffled[0], (shuffled[1], shuffled[2]), caller, action, name) == before


@given(grants, st.sampled_from(["alice", "bob", "oidc:alice", "zoe"]), actions, names)
def test_who_is_known_may_what_everyone_may(given_: list[GrantSettings], who: str, action: Action, name: str) -> None:
    known, everyone = (
        Grants(given_).allows(p, action, RepositoryName(name), PRIVATE) for p in (Principal(who), ANONYMOUS)
    )
    assert known >= everyone


@given(grants, actions, names)
def test_everyone_is_kept_out_behind_credentials_unless_named(
    given_: list[GrantSettings], action: Action, name: str
) -> None:
    known = [one for one in given_ if not any("b" in each for each in one.repositories)]
    assert not Grants(known).allows(ANONYMOUS, action, RepositoryName(name), PRIVATE)


@given(grants, policies, callers, actions, names)
def test_scopes_only_take(
    given_: list[GrantSettings], said: Policies, caller: Caller, action: Action, name: str
) -> None:
    free = decide(given_, said, caller, action, name)
    scope = {RepositoryName(name): frozenset({action, Action.PULL})}
    assert decide(given_, said, replace(caller, scopes=scope), action, name) == free
    assert not decide(given_, said, replace(caller, scopes={}), action, name)
    assert not decide(given_, said, replace(caller, scopes={RepositoryName("zoo"): frozenset(Action)}), action, name)


@given(policies, callers, actions, names)
def test_nothing_is_permitted_that_nothing_permits(said: Policies, caller: Caller, action: Action, name: str) -> None:
    denies: Policies = (
        [one for one in said[0] if one["Effect"] == "Deny"],
        [one for one in said[1] if one["Effect"] == "Deny"],
    )
    assert not decide([], denies, caller, action, name)
    assert not decide([grant("zoe", "pull")], denies, caller, action, name)
