"""Scopes: what clients ask for, and that nothing which is not understood grants anything."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.addresses import parse_upstream
from proxy.core.access.authorizer import EveryoneMay, Wanted
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.scopes import CATALOG, grant_scopes, parse_scopes, spell_scope
from proxy.core.access.tokens import BearerTokens
from proxy.core.rules import RuleSet
from proxy.model.access import Action
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName, parse_repository
from proxy.model.rule import CacheRule
from tests.support.clock import FakeClock

PULL = {Action.PULL, Action.FIRST_PULL}
ALL = PULL | {Action.PUSH, Action.DELETE}
OPERATIONS = {action: (f"to {action}",) for action in ALL}
RULES = RuleSet([CacheRule("docker-hub", parse_upstream("registry-1.docker.io"))])


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        (["repository:team/app:pull"], {"team/app": PULL}),
        (["repository:team/app:pull,push"], {"team/app": PULL | {Action.PUSH}}),
        (["repository:team/app:push,pull"], {"team/app": PULL | {Action.PUSH}}),
        (["repository:team/app:delete"], {"team/app": {Action.DELETE}}),
        (["repository:team/app:*"], {"team/app": ALL}),
        (["repository(plugin):team/app:pull"], {"team/app": PULL}),
        (["repository:a:pull", "repository:b:push"], {"a": PULL, "b": {Action.PUSH}}),
        (["repository:a:pull repository:b:push"], {"a": PULL, "b": {Action.PUSH}}),
        (["repository:a:pull", "repository:a:push"], {"a": PULL | {Action.PUSH}}),
        (["registry:catalog:*"], {CATALOG: ALL}),
        (["repository:localhost:5000/team/app:pull"], {"team/app": PULL}),
        # What is not known takes nothing from what is.
        (["repository:a:pull,mount,admin"], {"a": PULL}),
        (["  repository:a:pull   image:b:pull "], {"a": PULL}),
        (["repository:a:PULL"], {}),
        (["repository:a:first_pull"], {}),
        (["repository:a:"], {}),
        (["repository:a"], {}),
        (["repository::pull"], {}),
        (["repository:*:pull"], {}),
        (["repository:**:*"], {}),
        (["repository:A/b:pull"], {}),
        (["repository:../b:pull"], {}),
        (["repository:other:5000/team/app:pull"], {}),
        (["repository(plugin:a:pull"], {}),
        (["Repository:a:pull"], {}),
        (["registry:catalog:pull"], {}),
        (["registry:*:*"], {}),
        (["repository:registry:catalog:pull"], {}),
        ([f"repository:{'a' * 256}:pull"], {}),
        (["*"], {}),
        (["", " ", ":", "::", ":::"], {}),
        ([], {}),
    ],
)
def test_what_clients_ask_for(parameters: list[str], asked: dict[str, set[Action]]) -> None:
    assert parse_scopes(parameters, "localhost:5000") == asked


def test_of_too_many_the_first_count() -> None:
    asked = parse_scopes([f"repository:a{number}:pull" for number in range(1000)])
    assert list(asked) == [f"a{number}" for number in range(16)]
    assert parse_scopes([f"repository:a:pull {'x' * 1_000_000}", "repository:b:pull"]) == {"a": PULL}


def test_the_largest_token_fits_into_a_header_field(clock: FakeClock) -> None:
    scopes = parse_scopes([f"repository:{number:0>255}:*" for number in range(50)])
    token = BearerTokens(b"k", clock).issue(Caller(Principal("p" * 255), Scheme.OIDC), scopes, timedelta(minutes=5))
    assert len(scopes) == 16
    assert len(f"Bearer {token.text}") < 12_000
    assert BearerTokens(b"k", clock).verify(token.text) is not None


GRAMMAR = st.text(alphabet="arepositoygul:/,.*()5 _-\u00e9\0", max_size=60)


@given(st.lists(GRAMMAR | st.text(), max_size=5))
def test_nothing_raises_and_what_is_found_are_names(parameters: list[str]) -> None:
    for name, actions in parse_scopes(parameters).items():
        assert name == CATALOG or parse_repository(name) == name
        assert actions <= ALL


@pytest.mark.parametrize("action", [Action.PULL, Action.PUSH, Action.DELETE])
def test_what_a_challenge_asks_for_is_understood(action: Action) -> None:
    assert action in parse_scopes([spell_scope("team/app", action)])[RepositoryName("team/app")]


class Some(EveryoneMay):
    """An `Authorizer` that permits some operations, on some repositories."""

    def __init__(self, *permitted: tuple[str, str]) -> None:
        self.permitted = permitted

    async def permits(self, caller: Caller, wanted: Wanted) -> bool:
        assert not caller.anonymous
        return (wanted.operation, wanted.repository) in self.permitted


ALICE = Caller(Principal("alice"))


async def test_a_token_is_for_what_was_asked_and_is_permitted() -> None:
    asked = parse_scopes(["repository:a:pull,push", "repository:b:pull", "repository:c:delete"])
    permitted = Some(("to pull", "a"), ("to delete", "b"), ("to delete", "c"))
    granted = await grant_scopes(asked, ALICE, RULES, None, permitted, OPERATIONS)
    assert granted == {"a": {Action.PULL}, "c": {Action.DELETE}}


async def test_one_permitted_operation_of_an_action_is_enough() -> None:
    operations = OPERATIONS | {Action.PULL: ("to look", "to pull")}
    for operation in operations[Action.PULL]:
        granted = await grant_scopes(
            parse_scopes(["repository:a:pull"]), ALICE, RULES, None, Some((operation, "a")), operations
        )
        assert granted == {"a": {Action.PULL}}


@pytest.mark.parametrize(
    ("spelled", "mirror", "canonical"),
    [
        ("docker-hub/nginx", None, "docker-hub/library/nginx"),
        ("nginx", "docker-hub", "docker-hub/library/nginx"),
        ("team/app", None, "team/app"),
    ],
)
async def test_tokens_name_repositories_as_the_registry_does(spelled: str, mirror: str | None, canonical: str) -> None:
    asked = parse_scopes([f"repository:{spelled}:pull"])
    assert await grant_scopes(asked, ALICE, RULES, mirror, EveryoneMay(), OPERATIONS) == {canonical: PULL}


async def test_a_name_that_there_cannot_be_grants_nothing() -> None:
    asked = parse_scopes(["repository:nginx:pull", "registry:catalog:*"])
    assert await grant_scopes(asked, ALICE, RULES, "gone", EveryoneMay(), OPERATIONS) == {CATALOG: ALL}
