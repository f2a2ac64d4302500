"""Where a caller may see anything at all: what grants and policies say, without looking at any name."""

from collections.abc import Sequence

import pytest

from proxy.core.access.authorizer import EveryoneMay
from proxy.core.access.caller import Caller
from proxy.core.registry.identity import RegistryIdentity
from proxy.model.name_spans import ALL_NAMES, NameSpan, join_spans, span_of_name, span_of_prefix
from proxy.model.reference import RepositoryName
from tests.support.access import ACCOUNT, ALICE, BOB, NOBODY, Gate, grant, policy, resource, statement

PULL = "ecr:BatchGetImage"


@pytest.fixture
def gate() -> Gate:
    return Gate()


def below(*prefixes: str) -> tuple[NameSpan, ...]:
    return join_spans(map(span_of_prefix, prefixes))


def named(*names: str) -> tuple[NameSpan, ...]:
    return join_spans(map(span_of_name, names))


async def spans(gate: Gate, caller: Caller = ALICE) -> Sequence[NameSpan]:
    return await gate.authorizer.spans(caller)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["team/**"], below("team/")),
        (["team/*"], below("team/")),
        (["team/app"], named("team/app")),
        (["team*/app"], below("team")),
        (["team/**/app"], below("team/")),
        (["b/**", "a/x", "a/**"], below("a/", "b/")),
        (["a/x", "b/x"], named("a/x", "b/x")),
        (["a/**", "*/app"], ALL_NAMES),
        (["**"], ALL_NAMES),
    ],
)
async def test_grants_reach_as_far_as_their_patterns_say_before_a_star(
    gate: Gate, patterns: list[str], expected: tuple[NameSpan, ...]
) -> None:
    gate.grant(grant("alice", "pull", *patterns), grant("bob", "pull", "**"), grant("*", "push", "**"))
    assert await spans(gate) == expected


async def test_who_was_granted_nothing_sees_nothing(gate: Gate) -> None:
    assert await spans(gate) == ()
    gate.grant(grant("anonymous", "pull", "hub/**"), grant("bob", "pull", "team/**"))
    assert await spans(gate) == below("hub/")
    assert await spans(gate, NOBODY) == below("hub/")
    assert await spans(gate, BOB) == below("hub/", "team/")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (resource("team/*"), below("team/")),
        (resource("team/app"), named("team/app")),
        (resource("team/ap?"), below("team/ap")),
        (resource("team/${aws:username}/*"), below("team/")),
        (resource("Team/*"), ()),
        (resource("*"), ALL_NAMES),
        ("*", ALL_NAMES),
        (f"arn:aws:ecr:*:{ACCOUNT}:repository/team/*", ALL_NAMES),
        (f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/team/*", ()),
        (resource("team/app").removesuffix("team/app"), ()),
    ],
)
async def test_the_policy_of_the_registry_reaches_as_far_as_its_resources(
    gate: Gate, where: str, expected: tuple[NameSpan, ...]
) -> None:
    await gate.policies.set_registry_policy(policy(statement("Allow", "alice", PULL, Resource=where)))
    assert await spans(gate) == expected
    assert await spans(gate, BOB) == ()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (statement("Deny", "alice", PULL, Resource=resource("team/*")), ()),
        (statement("Allow", "alice", "ecr:PutImage", Resource=resource("team/*")), ()),
        (statement("Allow", "alice", PULL, NotResource=resource("team/*")), ALL_NAMES),
        (
            {"Effect": "Allow", "NotPrincipal": statement("x", "bob")["Principal"], "Action": PULL, "Resource": "*"},
            None,
        ),
        (statement("Allow", "*", PULL, Resource=resource("team/*"), Condition={"Null": {"aws:x": "true"}}), None),
    ],
)
async def test_only_what_allows_a_pull_to_the_caller_counts(
    gate: Gate, said: dict[str, object], expected: tuple[NameSpan, ...] | None
) -> None:
    await gate.policies.set_registry_policy(policy(said))
    if expected is None:
        expected = ALL_NAMES if said.get("Resource") == "*" else below("team/")
    assert await spans(gate) == expected


async def test_policies_of_repositories_reach_as_far_as_these(gate: Gate) -> None:
    gate.grant(grant("alice", "pull", "a/**"))
    await gate.hang("team/app", policy(statement("Allow", "alice", PULL)))
    await gate.hang("team/bob", policy(statement("Allow", "bob", PULL)))
    await gate.hang("team/not", policy(statement("Deny", "alice", PULL)))
    await gate.hang("team/plain")
    assert await spans(gate) == join_spans([*below("a/"), *named("team/app")])
    await gate.hang("team/plain", policy(statement("Allow", "*", PULL)))
    assert await spans(gate) == join_spans([*below("a/"), *named("team/app", "team/plain")])
    assert await spans(gate, BOB) == named("team/bob", "team/plain")
    await gate.policies.delete_repository_policy(RepositoryName("team/app"))
    assert await spans(gate) == join_spans([*below("a/"), *named("team/plain")])


async def test_where_very_many_repositories_have_policies_all_names_are_looked_at(gate: Gate) -> None:
    for number in range(500):
        await gate.hang(f"team/{number:03}", policy(statement("Allow", "bob", PULL)))
    assert await spans(gate) == ()
    await gate.hang("team/one-more", policy(statement("Allow", "bob", PULL)))
    assert await spans(gate) == ALL_NAMES


async def test_with_the_character_of_ecr_anonymous_callers_see_nothing() -> None:
    gate = Gate(identity=RegistryIdentity(ACCOUNT, "eu-west-1", ecr=True))
    gate.grant(grant("*", "pull", "**"))
    assert await spans(gate, NOBODY) == ()
    assert await spans(gate, ALICE) == ALL_NAMES


async def test_without_auth_all_names_are_seen() -> None:
    assert await EveryoneMay().spans(NOBODY) == ALL_NAMES
