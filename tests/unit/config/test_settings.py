"""From what people write to the values that core works with."""

from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from proxy.config.faults import ConfigurationError, spell
from proxy.config.loader import parse_settings
from proxy.config.settings import Settings, check_allow_private, parse_upstream
from proxy.model.credentials import (
    CredentialHelper,
    CredentialsSource,
    DockerConfig,
    EcrCredentials,
    SecretSource,
    UserPassword,
)
from proxy.model.rule import ROOT, Completion, OnUpstream404, UpstreamAddress
from proxy.model.tag_policy import TagMutability, TagPolicy


def load(rule: str, rest: str = "") -> Settings:
    return parse_settings(
        f"{rest}\nrules: [{{prefix: a, upstream: a.example, {rule}}}]", {"TOKEN": "x", "PATH": "/bin"}
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("quay.io", UpstreamAddress("https", "quay.io", 443)),
        ("quay.io:8443", UpstreamAddress("https", "quay.io", 8443)),
        ("https://quay.io/", UpstreamAddress("https", "quay.io", 443)),
        ("http://127.0.0.1:5001", UpstreamAddress("http", "127.0.0.1", 5001)),
        ("http://registry", UpstreamAddress("http", "registry", 80)),
        ("QUAY.io.", UpstreamAddress("https", "quay.io", 443)),
        (f"{'a' * 63}.io", UpstreamAddress("https", f"{'a' * 63}.io", 443)),
    ],
)
def test_an_upstream_is_a_host_with_https_implied(text: str, address: UpstreamAddress) -> None:
    assert parse_upstream(text) == address


@pytest.mark.parametrize("alias", ["docker.io", "index.docker.io", "registry.hub.docker.com"])
def test_the_other_names_of_docker_hub_mean_its_registry(alias: str) -> None:
    assert parse_upstream(alias) == UpstreamAddress("https", "registry-1.docker.io", 443)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "ftp://a",
        "a/b",
        "https://a/b",
        "a:0",
        "a:99999",
        "a:x",
        "http://",
        "https://a?x",
        "-a",
        "a@b",
        "[::1",
        "a:",
        "a?",
        "a#",
        "quay\n.io",
        "qu\tay.io",
        "*.quay.io",
        f"{'a' * 64}.io",
        ".".join(["a" * 63] * 4),
    ],
)
def test_anything_else_is_no_upstream(text: str) -> None:
    with pytest.raises(ValueError, match="host"):
        parse_upstream(text)


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


def test_private_places_are_hosts_or_networks() -> None:
    assert check_allow_private(["CDN.Corp.", "*.corp", "10.0.0.0/8", "fd00::/8", "10.1.2.3"]) == (
        "cdn.corp",
        "*.corp",
        "10.0.0.0/8",
        "fd00::/8",
        "10.1.2.3",
    )
    for wrong in ("10.0.0.1/8", "a b", "", "a/b"):
        with pytest.raises(ValueError, match="neither a host name nor a network"):
            check_allow_private([wrong])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rules: [{prefix: a, upstream: a.example, allow: ['Library/*']}]", "rules[0].allow"),
        ("rules: [{prefix: a, upstream: a.example, deny: [ok, 'a//b']}]", "rules[0].deny"),
        ("registry: {hosted: ['team/']}", "registry.hosted"),
    ],
)
def test_a_pattern_that_no_name_fits_is_a_fault_that_names_the_key(text: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(text, {})
    (fault,) = raised.value.faults
    assert spell(fault.key) == key
    assert "fits no name: a pattern is segments of a repository name joined by /" in fault.problem


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


def test_tag_policies_are_by_prefix() -> None:
    text = """
registry:
  tags:
    - {prefix: ROOT, mutability: IMMUTABLE}
    - {prefix: team/web/, mutability: IMMUTABLE_WITH_EXCLUSION, filters: [latest, "dev-*"]}
    - {prefix: team, mutability: MUTABLE_WITH_EXCLUSION, filters: ["v*"]}
    - {prefix: scratch, mutability: MUTABLE}
"""
    assert parse_settings(text, {}).registry.tag_policies() == {
        ROOT: TagPolicy(TagMutability.IMMUTABLE),
        "team/web": TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest", "dev-*")),
        "team": TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*",)),
        "scratch": TagPolicy(TagMutability.MUTABLE),
    }
    assert parse_settings("", {}).registry.tag_policies() == {}


@pytest.mark.parametrize(
    ("entries", "key", "problem"),
    [
        ("{prefix: Team, mutability: IMMUTABLE}", "registry.tags[0].prefix", "a repository name is"),
        ("{prefix: /, mutability: IMMUTABLE}", "registry.tags[0].prefix", "a repository name is"),
        ("{prefix: a, mutability: FROZEN}", "registry.tags[0].mutability", "IMMUTABLE_WITH_EXCLUSION"),
        ("{prefix: a}", "registry.tags[0].mutability", "missing"),
        ("{prefix: a, mutability: IMMUTABLE, filters: [x]}", "registry.tags[0]", "IMMUTABLE takes no filters"),
        ("{prefix: a, mutability: MUTABLE_WITH_EXCLUSION}", "registry.tags[0]", "needs 1 to 5 filters, not 0"),
        (
            "{prefix: a, mutability: MUTABLE_WITH_EXCLUSION, filters: ['*a*b*']}",
            "registry.tags[0]",
            "'*a*b*' is no filter: it has more than 2 *",
        ),
        (
            "{prefix: a/b, mutability: MUTABLE}, {prefix: a/b/, mutability: IMMUTABLE}",
            "registry.tags",
            "two entries have the prefix a/b; a prefix has one policy",
        ),
    ],
)
def test_a_tag_policy_that_is_none_is_a_fault_that_names_the_key(entries: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(f"registry: {{tags: [{entries}]}}", {})
    (fault,) = raised.value.faults
    assert spell(fault.key) == key
    assert problem in fault.problem
