"""Grants of the configuration: whom they mean, and which repositories."""

from pathlib import Path

import pytest

from proxy.config.addresses import parse_upstream
from proxy.config.auth import AuthSettings
from proxy.core.access.grants import GrantBook, Grants, PrincipalPattern, names_rule
from proxy.model.access import Action
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName
from proxy.model.rule import ROOT, CacheRule
from tests.support.access import grant

PUBLIC = CacheRule("hub", parse_upstream("docker.io"))
PRIVATE = CacheRule("team/mirror", parse_upstream("ghcr.io"), UserPassword("robot", SecretSource(env="X")))


@pytest.mark.parametrize(
    ("pattern", "principal", "fits"),
    [
        ("alice", "alice", True),
        ("alice", "alice2", False),
        ("alice", "Alice", False),
        ("ci-*", "ci-1", True),
        ("ci-*", "ci-", True),
        ("ci-*", "xci-1", False),
        ("*", "alice", True),
        ("*", "oidc:repo:team/app", True),
        ("**", "cert:builder", True),
        ("*", "", False),
        ("**", "", False),
        ("*-bot", "deploy-bot", True),
        ("*-bot", "oidc:evil-bot", False),
        ("*bot*", "cert:bot", False),
        ("oidc:repo:team/*", "oidc:repo:team/app", True),
        ("oidc:repo:team/*", "oidc:repo:team/app:ref:main", True),
        ("oidc:repo:team/*", "oidc:repo:teams/app", False),
        ("oidc:*", "cert:oidc:", False),
        ("cert:*", "certain", False),
        ("anonymous", "", True),
        ("anonymous", "alice", True),
        ("anonymous*", "", False),
        ("anonymous*", "alice", False),
        ("alice", "", False),
    ],
)
def test_a_pattern_means_these_principals(pattern: str, principal: str, fits: bool) -> None:  # noqa: FBT001 - a table
    assert PrincipalPattern(pattern).fits(Principal(principal)) is fits


@pytest.mark.parametrize(
    ("pattern", "prefix", "named"),
    [
        ("ghcr/**", "ghcr", True),
        ("ghcr/team/*", "ghcr", True),
        ("ghcr", "ghcr", True),
        ("**", "ghcr", False),
        ("*/**", "ghcr", False),
        ("ghc*/**", "ghcr", False),
        ("ghcr2/**", "ghcr", False),
        ("a/b/**", "a/b", True),
        ("a/**", "a/b", False),
        ("a/*/c", "a/b", False),
        ("${aws:username}/**", "ghcr", False),
        ("gh?r/**", "ghcr", False),
        ("**", ROOT, False),
        ("*/app", ROOT, False),
        ("team/**", ROOT, True),
    ],
)
def test_a_pattern_names_a_rule_only_by_all_of_its_prefix(pattern: str, prefix: str, named: bool) -> None:  # noqa: FBT001 - a table
    assert names_rule(pattern, prefix) is named


def allows(grants: Grants, principal: str, repository: str | None, rule: CacheRule | None = None) -> bool:
    name = RepositoryName(repository) if repository is not None else None
    return grants.allows(Principal(principal), Action.PULL, name, rule)


def test_an_action_is_granted_on_its_repositories_only() -> None:
    grants = Grants([grant("alice bob", "pull push", "team/**", "shared/*")])
    assert allows(grants, "bob", "team/app/web")
    assert allows(grants, "bob", "shared/app")
    assert not allows(grants, "bob", "shared/app/web")
    assert not allows(grants, "carol", "team/app")
    assert not grants.allows(Principal("bob"), Action.DELETE, RepositoryName("team/app"))


@pytest.mark.parametrize("pattern", ["*", "*/**", "team/**"])
def test_only_all_repositories_are_the_registry_as_a_whole(pattern: str) -> None:
    assert allows(Grants([grant("alice", "pull")]), "alice", None)
    assert not allows(Grants([grant("alice", "pull", pattern)]), "alice", None)


@pytest.mark.parametrize("principal", ["", "alice"])
@pytest.mark.parametrize(
    ("pattern", "opens"), [("**", False), ("*/**", False), ("team/**", False), ("team/mirror/**", True)]
)
def test_s25_what_everyone_may_ends_at_credentials_unless_it_names_the_rule(
    pattern: str,
    opens: bool,  # noqa: FBT001 - a table
    principal: str,
) -> None:
    grants = Grants([grant("anonymous", "pull", pattern)])
    assert allows(grants, principal, "team/mirror/app", PRIVATE) is opens
    assert allows(Grants([grant("anonymous", "pull")]), principal, "hub/library/nginx", PUBLIC)


def test_s25_a_client_certificate_is_a_credential() -> None:
    rule = CacheRule("team/mirror", parse_upstream("ghcr.io"), client_cert=Path("client.pem"))
    assert not allows(Grants([grant("anonymous", "pull")]), "", "team/mirror/app", rule)


def test_s25_who_is_known_has_what_is_granted_to_all_who_are_known() -> None:
    assert allows(Grants([grant("anonymous *", "pull")]), "alice", "team/mirror/app", PRIVATE)
    assert not allows(Grants([grant("anonymous *", "pull")]), "", "team/mirror/app", PRIVATE)


@pytest.mark.parametrize(("given", "known"), [(None, True), ([], False)])
def test_without_policies_all_who_are_known_may_everything_and_with_none_nobody(
    given: list[object] | None,
    known: bool,  # noqa: FBT001 - a table
) -> None:
    settings = AuthSettings.model_validate({"htpasswd": "users", "policies": given})
    grants = Grants.of(settings)
    for action in Action:
        for name in (None, RepositoryName("team/app")):
            assert grants.allows(Principal("alice"), action, name, PRIVATE) is known
            assert not grants.allows(ANONYMOUS, action, name)


def test_other_grants_are_obeyed_at_once() -> None:
    book = GrantBook(Grants([grant("alice", "pull")]))
    assert allows(book.current, "alice", "team/app")
    book.replace(Grants([grant("bob", "pull")]))
    assert not allows(book.current, "alice", "team/app")
    assert allows(book.current, "bob", "team/app")
