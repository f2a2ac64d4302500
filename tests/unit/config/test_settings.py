"""From what people write to the values that core works with."""

from datetime import timedelta
from pathlib import Path

import pytest

from proxy.config.loader import parse_settings
from proxy.config.settings import Settings, check_allow_private, parse_upstream
from proxy.model.credentials import CredentialHelper, CredentialsSource, DockerConfig, SecretSource, UserPassword
from proxy.model.rule import OnUpstream404, UpstreamAddress


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


def test_tags_are_checked_as_the_rule_says_else_as_the_kind_of_registry_does() -> None:
    assert load("offline: false").cache_rules()[0].revalidate_after == timedelta(minutes=5)
    assert load("offline: false", "registry: {compatibility: ecr}").cache_rules()[0].revalidate_after == timedelta(
        days=1
    )
    assert load("revalidate_after: 0s", "registry: {compatibility: ecr}").cache_rules()[
        0
    ].revalidate_after == timedelta(0)


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
