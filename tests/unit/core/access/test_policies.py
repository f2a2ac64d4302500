"""The decision: grants, policies, rules with credentials, and what tokens are limited to."""

import asyncio
from dataclasses import replace

import pytest

from proxy.config.addresses import parse_upstream
from proxy.core.access.authorizer import EveryoneMay, ScopeError
from proxy.core.access.caller import Caller
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.rules import RuleBook, RuleSet
from proxy.model.access import Action
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule
from tests.support.access import ACCOUNT, ALICE, BOB, NOBODY, Gate, grant, policy, resource, statement, wanted
from tests.support.background import started

HUB = CacheRule("hub", parse_upstream("docker.io"))
PRIVATE = CacheRule("ghcr", parse_upstream("ghcr.io"), UserPassword("robot", SecretSource(env="X")))
EVERYBODY = (ALICE, BOB, NOBODY)
LISTED = [RepositoryName(name) for name in ("ghcr/a/b", "hub/library/nginx", "team/app", "team/other")]


@pytest.fixture
def gate() -> Gate:
    return Gate(RuleBook(RuleSet([HUB, PRIVATE])))


async def refusal(gate: Gate, caller: Caller, action: str, repository: str | None = None) -> ProxyError:
    with pytest.raises(ProxyError) as raised:
        await gate.authorizer.require(caller, wanted(action, repository))
    return raised.value


async def test_nobody_may_anything_without_a_grant(gate: Gate) -> None:
    for action in Action:
        for name in ("team/app", None):
            assert await gate.who(EVERYBODY, action, name) == []


async def test_a_grant_or_an_allow_is_enough(gate: Gate) -> None:
    gate.grant(grant("alice", "pull", "team/**"))
    await gate.hang("team/app", policy(statement("Allow", "bob", "ecr:BatchGetImage")))
    assert await gate.who(EVERYBODY, "pull", "team/app") == ["alice", "bob"]
    assert await gate.who(EVERYBODY, "pull", "team/other") == ["alice"]
    assert await gate.who(EVERYBODY, "push", "team/app") == []


async def test_an_explicit_deny_wins_over_grants_and_allows(gate: Gate) -> None:
    gate.grant(grant("*", "pull push"))
    await gate.policies.set_registry_policy(policy(statement("Allow", "*", Resource="*")))
    await gate.hang("team/app", policy(statement("Deny", "alice", "ecr:PutImage")))
    assert await gate.who(EVERYBODY, "push", "team/app") == ["bob", "nobody"]
    assert await gate.who(EVERYBODY, "pull", "team/app") == ["alice", "bob", "nobody"]


async def test_the_registry_denies_what_a_repository_allows(gate: Gate) -> None:
    await gate.hang("team/app", policy(statement("Allow", ACCOUNT_OF_ALL)))
    assert await gate.who(EVERYBODY, "pull", "team/app") == ["alice", "bob"]
    denied = statement("Deny", "alice", "ecr:BatchGet*", Resource=resource("team/*"))
    await gate.policies.set_registry_policy(policy(denied))
    assert await gate.who(EVERYBODY, "pull", "team/app") == ["bob"]
    assert await gate.who(EVERYBODY, "push", "team/app") == ["alice", "bob"]


ACCOUNT_OF_ALL = {"AWS": ACCOUNT}


async def test_an_allow_to_everyone_lets_nobody_in_particular_in(gate: Gate) -> None:
    await gate.hang("team/app", policy(statement("Allow", "*", "ecr:BatchGetImage")))
    assert await gate.who(EVERYBODY, "pull", "team/app") == ["alice", "bob", "nobody"]


async def test_with_the_character_of_ecr_there_is_no_anonymous_caller() -> None:
    gate = Gate(identity=RegistryIdentity(ACCOUNT, "eu-west-1", ecr=True))
    gate.grant(grant("anonymous", "pull"))
    await gate.hang("team/app", policy(statement("Allow", "*")))
    assert await gate.who(EVERYBODY, "pull", "team/app") == ["alice", "bob"]
    assert (await refusal(gate, NOBODY, "pull", "team/app")).code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize("operation", ["metrics", "secretsmanager:GetSecretValue", "sts:GetCallerIdentity"])
async def test_what_is_not_of_ecr_its_policies_have_no_say_in(gate: Gate, operation: str) -> None:
    await gate.policies.set_registry_policy(policy(statement("Allow", "*", "*", Resource="*")))
    assert not await gate.authorizer.permits(ALICE, wanted("admin", None, operation))
    gate.grant(grant("alice", "admin"))
    await gate.policies.set_registry_policy(policy(statement("Deny", "*", "*", Resource="*")))
    assert await gate.authorizer.permits(ALICE, wanted("admin", None, operation))
    assert not await gate.authorizer.permits(ALICE, wanted("admin", None, "ecr:CreateRepository"))


async def test_the_registry_as_a_whole_needs_all_repositories(gate: Gate) -> None:
    gate.grant(grant("alice", "admin", "team/**"), grant("bob", "admin"))
    assert await gate.who(EVERYBODY, "admin") == ["bob"]
    await gate.policies.set_registry_policy(policy(statement("Allow", "alice", Resource=resource("*"))))
    assert await gate.who(EVERYBODY, "admin") == ["alice", "bob"]
    await gate.policies.set_registry_policy(policy(statement("Allow", "alice", Resource=resource("team/*"))))
    assert await gate.who(EVERYBODY, "admin") == ["bob"]


# --- S25 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pattern", "opens"), [("**", False), ("*/**", False), ("ghcr/**", True), ("ghcr/a/*", True)])
async def test_s25_a_rule_with_credentials_is_closed_unless_a_grant_names_it(
    gate: Gate,
    pattern: str,
    opens: bool,  # noqa: FBT001 - a table
) -> None:
    gate.grant(grant("anonymous", "pull", pattern))
    # Also where nobody says to the authorizer by which rule the repository is reached.
    assert await gate.may(NOBODY, "pull", "ghcr/a/b") is opens
    assert await gate.may(ALICE, "pull", "ghcr/a/b") is opens


async def test_s25_a_policy_of_the_repository_opens_it(gate: Gate) -> None:
    gate.grant(grant("anonymous", "pull"))
    await gate.policies.set_registry_policy(policy(statement("Allow", "*", Resource=resource("*"))))
    assert not await gate.may(NOBODY, "pull", "ghcr/a/b")
    await gate.hang("ghcr/a/b", policy(statement("Allow", "*")))
    assert await gate.may(NOBODY, "pull", "ghcr/a/b")


async def test_s25_a_rule_that_gets_credentials_is_closed_at_once(gate: Gate) -> None:
    gate.grant(grant("anonymous", "pull"))
    assert await gate.may(NOBODY, "pull", "hub/library/nginx")
    gate.rules.replace(RuleSet([replace(HUB, credentials=PRIVATE.credentials), PRIVATE]))
    assert not await gate.may(NOBODY, "pull", "hub/library/nginx")


async def test_s25_a_list_shows_nothing_of_a_private_rule_that_another_process_has_just_made(gate: Gate) -> None:
    gate.grant(grant("anonymous", "pull"), grant("alice", "pull"))
    gate.rules.replace(RuleSet([HUB]))  # as this process knew them last

    async def refresh() -> None:
        gate.rules.replace(RuleSet([HUB, PRIVATE]))

    gate.rules.follow(lambda: gate.rules.current.rule("ghcr") is None, refresh)
    assert await gate.authorizer.visible(NOBODY, LISTED) == LISTED[1:]
    assert await gate.authorizer.visible(ALICE, LISTED) == LISTED


# --- what is known of requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "alice", "nobody"),
    [
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, True, True),
        ({"IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}, False, False),
        ({"StringEquals": {"aws:username": "alice"}}, True, False),
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, True, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a*"}}, True, False),
        ({"StringEquals": {"aws:PrincipalType": "Anonymous"}}, False, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, True, True),
        ({"StringEquals": {"aws:ResourceTag/team": "blue"}}, True, True),
        ({"StringEquals": {"ecr:ResourceTag/team": "green"}}, False, False),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, True, True),
        ({"StringEquals": {"aws:ResourceAccount": ACCOUNT}}, True, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True, True),
        ({"NumericGreaterThan": {"aws:EpochTime": "0"}}, True, True),
    ],
)
async def test_conditions_know_the_request(
    gate: Gate,
    condition: dict[str, object],
    alice: bool,  # noqa: FBT001 - a table
    nobody: bool,  # noqa: FBT001 - a table
) -> None:
    await gate.hang("team/app", policy(statement("Allow", "*", Condition=condition)), {"team": "blue"})
    assert (await gate.may(ALICE, "pull", "team/app"), await gate.may(NOBODY, "pull", "team/app")) == (alice, nobody)


@pytest.mark.parametrize("secure", [True, False, None])
async def test_who_demands_tls_is_obeyed_also_where_nobody_knows_how_a_request_came(
    gate: Gate,
    secure: bool | None,  # noqa: FBT001 - a table
) -> None:
    gate.grant(grant("alice", "pull"))
    plain = statement("Deny", "*", Condition={"Bool": {"aws:SecureTransport": "false"}})
    await gate.hang("team/app", policy(plain))
    assert await gate.may(replace(ALICE, secure=secure), "pull", "team/app") is bool(secure)


async def test_an_unknown_address_is_kept_out_by_who_demands_one(gate: Gate) -> None:
    gate.grant(grant("alice", "pull"))
    elsewhere = statement("Deny", "*", Condition={"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}})
    await gate.hang("team/app", policy(elsewhere))
    assert await gate.may(ALICE, "pull", "team/app")
    assert not await gate.may(replace(ALICE, address=None), "pull", "team/app")


async def test_tags_that_differ_in_case_only_open_nothing(gate: Gate) -> None:
    allowed = statement("Allow", "*", Condition={"StringEquals": {"aws:ResourceTag/team": "blue"}})
    await gate.hang("team/app", policy(allowed), {"team": "blue", "Team": "green"})
    assert not await gate.may(ALICE, "pull", "team/app")


# --- tokens and refusals ----------------------------------------------------------------------------------------------


def scoped(caller: Caller, *, token: bool = True, **repositories: str) -> Caller:
    scopes = {RepositoryName(name): frozenset(map(Action, actions.split())) for name, actions in repositories.items()}
    return replace(caller, scopes=scopes, token=token)


async def test_a_token_reaches_no_further_than_its_scopes(gate: Gate) -> None:
    gate.grant(grant("alice", " ".join(Action)))
    caller = scoped(ALICE, app="pull")
    assert await gate.may(caller, "pull", "app")
    assert await gate.may(caller, "first_pull", "app")  # no scope has a word for it
    for action, name in (("push", "app"), ("admin", "app"), ("pull", "other"), ("pull", None), ("metrics", None)):
        assert not await gate.may(caller, action, name)
        assert isinstance(await refusal(gate, caller, action, name), ScopeError)
    assert not await gate.may(scoped(ALICE), "pull", "app")


async def test_a_token_is_never_more_than_its_principal(gate: Gate) -> None:
    gate.grant(grant("alice", "pull", "app"))
    caller = scoped(ALICE, app="pull push", other="pull")
    assert not await gate.may(caller, "push", "app")
    assert not await gate.may(caller, "first_pull", "app")
    assert (await refusal(gate, caller, "push", "app")).code is ErrorCode.DENIED
    error = await refusal(gate, scoped(ALICE), "push", "app")
    assert (error.code, isinstance(error, ScopeError)) == (ErrorCode.DENIED, False)


async def test_who_has_a_link_to_one_thing_is_told_to_get_no_other_one(gate: Gate) -> None:
    gate.grant(grant("alice", "pull"))
    assert (await refusal(gate, scoped(ALICE, token=False, app="pull"), "pull", "other")).code is ErrorCode.DENIED


async def test_anonymous_tokens_are_limited_too(gate: Gate) -> None:
    gate.grant(grant("anonymous", "pull", "app", "other"))
    caller = scoped(NOBODY, app="pull")
    assert await gate.may(caller, "pull", "app")
    assert isinstance(await refusal(gate, caller, "pull", "other"), ScopeError)
    error = await refusal(gate, caller, "push", "app")
    assert (error.code, isinstance(error, ScopeError)) == (ErrorCode.UNAUTHORIZED, False)


async def test_refusals_are_alike_whatever_is_there(gate: Gate) -> None:
    await gate.hang("team/app", policy(statement("Deny", "*")))
    for caller, code in ((ALICE, ErrorCode.DENIED), (NOBODY, ErrorCode.UNAUTHORIZED)):
        told = [
            await refusal(gate, caller, "pull", name) for name in ("team/app", "team/none", "ghcr/a/b", "hub/x/y", None)
        ]
        assert {(error.code, error.message, str(error.detail)) for error in told} == {
            (code, told[0].message, str(told[0].detail))
        }
        assert not any(name in told[0].message for name in ("team", "ghcr", "hub"))


async def test_who_may_is_not_refused(gate: Gate) -> None:
    gate.grant(grant("alice", "pull"))
    await gate.authorizer.require(ALICE, wanted("pull", "team/app"))
    await gate.authorizer.require(ALICE, wanted("pull"))


# --- the catalog ------------------------------------------------------------------------------------------------------


async def test_the_catalog_shows_what_may_be_pulled(gate: Gate) -> None:
    gate.grant(grant("alice", "pull push", "team/**"), grant("bob", "push"), grant("anonymous", "pull"))
    await gate.hang("team/app", policy(statement("Deny", "bob"), statement("Allow", "alice")))
    await gate.hang("ghcr/a/b", policy(statement("Allow", "alice", "ecr:BatchGetImage")))
    assert await gate.authorizer.visible(ALICE, LISTED) == LISTED
    assert await gate.authorizer.visible(BOB, LISTED) == ["hub/library/nginx", "team/other"]
    assert await gate.authorizer.visible(NOBODY, LISTED) == ["hub/library/nginx", "team/app", "team/other"]
    limited = replace(ALICE, scopes={LISTED[3]: frozenset({Action.PULL})})
    assert await gate.authorizer.visible(limited, LISTED) == ["team/other"]
    assert await gate.authorizer.visible(ALICE, []) == []


async def test_others_run_while_many_names_are_decided(gate: Gate) -> None:
    gate.grant(grant("alice", "pull", "team/*"))
    names = [RepositoryName(f"team/{number:03}") for number in range(512)]
    deciding, turns = started(gate.authorizer.visible(ALICE, names)), 0
    while not deciding.done():
        await asyncio.sleep(0)
        turns += 1
    assert deciding.result() == names
    assert turns >= 8


async def test_without_auth_everyone_sees_everything() -> None:
    everyone = EveryoneMay()
    assert await everyone.visible(NOBODY, LISTED) == LISTED
    assert await everyone.permits(Caller(Principal("x")), wanted("admin"))
    await everyone.require(NOBODY, wanted("admin"))
