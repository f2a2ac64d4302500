"""The `secrets` section, and rules that name a secret."""

import base64
from pathlib import Path

import pytest

from proxy.config.credentials import AwsSecretsSettings, SecretsSettings
from proxy.config.faults import ConfigurationError
from proxy.config.loader import parse_settings
from proxy.config.reload import changed_keys, merge_live
from proxy.config.secret_text import SecretUnreadableError, read_secret
from proxy.config.settings import Settings
from proxy.model.credentials import SecretCredentials, SecretSource

ARN = "arn:aws:secretsmanager:eu-west-1:012345678910:secret:ecr-pullthroughcache/hub-AbC123"
VALUE = "{name: ecr-pullthroughcache/hub, username: robot, access_token: {env: TOKEN}}"


def load(text: str) -> Settings:
    return parse_settings(text, {"TOKEN": "hidden", "KEY": base64.b64encode(b"k" * 32).decode()})


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return [str(fault) for fault in caught.value.faults]


def test_nothing_is_configured_by_default() -> None:
    assert load("").secrets == SecretsSettings(key=None, values=(), aws=None)


@pytest.mark.parametrize("secret", ["ecr-pullthroughcache/hub", ARN, "hub"])
def test_a_rule_names_a_secret_by_name_or_arn(secret: str) -> None:
    (rule,) = load(f"rules: [{{prefix: a, upstream: a.example, credentials: {{secret: '{secret}'}}}}]").cache_rules()
    assert rule.credentials == SecretCredentials(secret)
    assert rule.credentials_id == f"secret:{secret}"


@pytest.mark.parametrize("secret", ["''", "'a b'", "'a/b\n'", "{env: TOKEN}"])
def test_anything_else_names_no_secret(secret: str) -> None:
    (fault,) = faults(f"rules: [{{prefix: a, upstream: a.example, credentials: {{secret: {secret}}}}}]")
    assert "rules[0].credentials.secret" in fault


def test_a_rule_has_a_secret_or_other_credentials() -> None:
    (fault,) = faults("rules: [{prefix: a, upstream: a.example, credentials: {secret: x, helper: y}}]")
    assert "or secret: exactly one of them" in fault


def test_secrets_are_made_of_variables_and_files() -> None:
    settings = load(f"secrets: {{values: [{VALUE}], key: {{env: KEY}}, aws: {{region: eu-west-1}}}}").secrets
    (value,) = settings.values
    assert (value.name, value.username, value.access_token.source()) == (
        "ecr-pullthroughcache/hub",
        "robot",
        SecretSource(env="TOKEN"),
    )
    assert settings.key is not None
    assert settings.key.source() == SecretSource(env="KEY")
    assert settings.aws == AwsSecretsSettings(region="eu-west-1", endpoint_url=None)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (f"values: [{VALUE}, {VALUE}]", "secrets.values"),
        (f"values: [{VALUE.replace('hub', 'h:b')}]", "secrets.values[0].name"),
        (f"values: [{VALUE.replace('robot', '')}]", "secrets.values[0].username"),
        (f"values: [{VALUE.replace('{env: TOKEN}', 'plain')}]", "secrets.values[0].access_token"),
        (f"values: [{VALUE.replace('TOKEN', 'UNSET')}]", "secrets.values[0].access_token.env"),
        (f"values: [{VALUE.replace('env: TOKEN', 'file: /nonexistent')}]", "secrets.values[0].access_token.file"),
        ("key: {env: UNSET}", "secrets.key.env"),
        ("key: {}", "secrets.key"),
        ("aws: {region: nowhere}", "secrets.aws.region"),
        ("aws: {}", "secrets.aws.region"),
        ("aws: {region: eu-west-1, endpoint_url: localhost}", "secrets.aws.endpoint_url"),
        ("aws: {region: eu-west-1, endpoint_url: 'http://host/path'}", "secrets.aws.endpoint_url"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(section: str, key: str) -> None:
    (fault,) = faults(f"secrets: {{{section}}}")
    assert f" {key}: " in fault
    assert "plain" not in fault


def test_values_are_taken_over_by_a_running_server_and_the_rest_is_not() -> None:
    running, wanted = load(""), load(f"secrets: {{values: [{VALUE}], aws: {{region: eu-west-1}}}}")
    settled = merge_live(running, wanted)
    assert settled.secrets == SecretsSettings(values=wanted.secrets.values)
    assert list(changed_keys(settled, wanted)) == ["secrets.aws"]


def test_a_secret_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "binary").write_bytes(b"hidden\xff")
    for source, place in (
        (SecretSource(env="EMPTY"), "environment variable EMPTY"),
        (SecretSource(file=tmp_path / "absent"), str(tmp_path / "absent")),
        (SecretSource(file=tmp_path / "binary"), str(tmp_path / "binary")),
    ):
        with pytest.raises(SecretUnreadableError) as caught:
            read_secret(source)
        assert place in str(caught.value)
        assert "hidden" not in str(caught.value)
