"""From a rule as people write it to the rule that core works with."""

from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from proxy.config.faults import ConfigurationError
from proxy.config.loader import parse_settings
from proxy.config.settings import Settings
from proxy.model.credentials import (
    CredentialHelper,
    CredentialsSource,
    DockerConfig,
    EcrCredentials,
    SecretSource,
    UserPassword,
)
from proxy.model.rule import Completion, OnUpstream404


def load(rule: str, rest: str = "") -> Settings:
    return parse_settings(
        f"{rest}\nrules: [{{prefix: a, upstream: a.example, {rule}}}]", {"TOKEN": "x", "PATH": "/bin"}
    )


@pytest.mark.parametrize(
    ("credentials", "source"),
    [
        ("{username: u, password: {env: TOKEN}}", UserPassword("u", SecretSource(env="TOKEN"))),
        (
            "{username: u, password: {file: pyproject.toml}}",
            UserPassword("u", SecretSource(file=Path("pyproject.toml"))),
        ),
        ("{docker_config: pyproject.toml}", DockerConfig(Path("pyproject.toml"))),
        ("{ecr: {region: eu-west-1}}", EcrCredentials("eu-west-1")),
        ("{ecr: {region: us-gov-east-1}}", EcrCredentials("us-gov-east-1")),
    ],
)
def test_credentials_say_where_the_secret_is(credentials: str, source: CredentialsSource) -> None:
    assert load(f"credentials: {credentials}").cache_rules()[0].credentials == source


def test_a_helper_is_found_on_the_path(tmp_path: Path) -> None:
    program = tmp_path / "docker-credential-mine"
    program.touch(mode=0o755)
    settings = parse_settings(
        "rules: [{prefix: a, upstream: a.example, credentials: {helper: mine}}]", {"PATH": str(tmp_path)}
    )
    assert settings.cache_rules()[0].credentials == CredentialHelper("mine")


def test_a_client_certificate_comes_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    authority = trustme.CA()
    authority.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(path)
    assert load(f"client_cert: {path}").cache_rules()[0].client_cert == path
    authority.cert_pem.write_to_path(path)
    with pytest.raises(ConfigurationError) as caught:
        load(f"client_cert: {path}")
    assert "no certificate with its key" in str(caught.value)


def test_the_region_of_ecr_is_one() -> None:
    with pytest.raises(ConfigurationError):
        load("credentials: {ecr: {region: eu west}}")


def test_tags_are_checked_as_the_rule_says_else_as_the_kind_of_registry_does() -> None:
    assert load("offline: false").cache_rules()[0].revalidate_after == timedelta(minutes=5)
    assert load("offline: false", "registry: {compatibility: ecr}").cache_rules()[0].revalidate_after == timedelta(
        days=1
    )
    assert load("revalidate_after: 0s", "registry: {compatibility: ecr}").cache_rules()[
        0
    ].revalidate_after == timedelta(0)


def test_completion_follows_the_compatibility_unless_the_rule_says_otherwise() -> None:
    ecr = "registry: {compatibility: ecr}"
    assert load("offline: false").cache_rules()[0].complete is Completion.PLATFORM
    assert load("offline: false", ecr).cache_rules()[0].complete is Completion.INDEX
    for text, said in (("platform", "platform"), ("index", "index"), ("none", "none"), ("false", "none")):
        assert load(f"complete: {text}", ecr).cache_rules()[0].complete == said


def test_a_rule_becomes_what_it_says() -> None:
    rule = load("upstream_prefix: x/y/, on_upstream_404: purge, max_connections: 3, ns: true").cache_rules()[0]
    assert (rule.prefix, rule.upstream_prefix, rule.max_connections, rule.ns) == ("a", "x/y", 3, True)
    assert rule.on_upstream_404 is OnUpstream404.PURGE


def test_patterns_are_kept_as_they_are_written() -> None:
    rule = load("allow: [library/*], deny: ['**/x']").cache_rules()[0]
    assert (rule.allow, rule.deny) == (("library/*",), ("**/x",))


@pytest.mark.parametrize(
    ("compatibility", "said", "pushes"),
    [
        ("relaxed", "offline: false", False),
        ("relaxed", "push: allow", True),
        ("relaxed", "push: deny", False),
        ("ecr", "offline: false", True),
        ("ecr", "push: deny", False),
        ("ecr", "push: allow", True),
    ],
)
def test_pushes_follow_the_compatibility_unless_the_rule_says_otherwise(
    compatibility: str,
    said: str,
    pushes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert load(said, f"registry: {{compatibility: {compatibility}}}").cache_rules()[0].push is pushes
