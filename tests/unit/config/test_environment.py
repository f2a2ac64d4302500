"""Every key by the environment, which wins over the file."""

from datetime import timedelta
from pathlib import Path

import pytest

from proxy.config.auth import AuthSettings, OidcSettings
from proxy.config.environment import variable
from proxy.config.faults import ConfigurationError
from proxy.config.loader import parse_settings
from proxy.config.schema import settings_of
from proxy.config.settings import Settings
from proxy.model.access import Action

RULES = "rules: [{prefix: a, upstream: a.example}, {prefix: b, upstream: b.example}]"


def load(text: str = "", **environ: str) -> Settings:
    return parse_settings(text, environ)


def faults(text: str = "", **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text, **environ)
    return str(caught.value).splitlines()


def test_a_variable_wins_over_the_file() -> None:
    settings = load("server: {port: 1, hosts: [a]}", PULLTHROUGH_SERVER__PORT="5002")
    assert (settings.server.port, settings.server.hosts) == (5002, ("a",))


def test_variables_need_no_file() -> None:
    settings = load(
        PULLTHROUGH_LOG__LEVEL="debug",
        PULLTHROUGH_STORAGE__PATH="/cache",
        PULLTHROUGH_STORAGE__MIN_FREE="2 GiB",
        PULLTHROUGH_UPSTREAMS__OFFLINE="true",
        PULLTHROUGH_UPSTREAMS__BUDGET="10",
        PULLTHROUGH_AUTH="none",
    )
    assert settings.log.level == "debug"
    assert settings.storage.path == Path("/cache")
    assert settings.storage.min_free == 2 << 30
    assert settings.upstreams.offline
    assert settings.upstreams.budget == timedelta(seconds=10)
    assert settings.auth == "none"


def test_the_section_of_authentication_can_be_set_key_by_key_and_as_a_whole(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch()
    policies = '[{"principals": ["*"], "actions": ["pull"]}]'
    issuer, claims = "https://issuer.example", '{"repository_owner": "team"}'
    auth = load(
        PULLTHROUGH_AUTH__HTPASSWD=str(users),
        PULLTHROUGH_AUTH__POLICIES=policies,
        PULLTHROUGH_AUTH__POLICIES__1='{"principals": ["bob"], "actions": ["push"], "repositories": ["bob/**"]}',
        PULLTHROUGH_AUTH__OIDC__0__ISSUER=issuer,
        PULLTHROUGH_AUTH__OIDC__0__AUDIENCE="registry",
        PULLTHROUGH_AUTH__OIDC__0__CLAIMS=claims,
    ).auth
    assert isinstance(auth, AuthSettings)
    assert auth.htpasswd == users
    assert [(grant.principals, grant.actions, grant.repositories) for grant in auth.policies or ()] == [
        (("*",), (Action.PULL,), ("**",)),
        (("bob",), (Action.PUSH,), ("bob/**",)),
    ]
    assert auth.oidc == (OidcSettings(issuer=issuer, audience="registry", claims={"repository_owner": "team"}),)
    whole = load(PULLTHROUGH_AUTH=f'{{"htpasswd": "{users}", "policies": {policies}}}').auth
    assert isinstance(whole, AuthSettings)
    assert whole.policies == (auth.policies or ())[:1]


def test_a_key_of_authentication_wins_over_the_word_that_opens_the_registry(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch()
    for text, environ in (("auth: none", {}), ("auth:", {}), ("", {"PULLTHROUGH_AUTH": "none"})):
        auth = load(text, PULLTHROUGH_AUTH__HTPASSWD=str(users), **environ).auth
        assert isinstance(auth, AuthSettings)
        assert auth.htpasswd == users
    assert load(f"auth: {{htpasswd: '{users}'}}", PULLTHROUGH_AUTH="none").auth == "none"


@pytest.mark.parametrize("value", ["open", "[]", '"none"', "None", "{"])
def test_what_is_neither_an_object_nor_the_word_is_one_fault(value: str) -> None:
    assert faults(PULLTHROUGH_AUTH=value) == [
        'PULLTHROUGH_AUTH: auth: must be JSON: an object such as {"key": "value"} or the word none'
    ]


def test_faults_of_authentication_name_their_variables() -> None:
    assert faults(PULLTHROUGH_AUTH__HTPASSWD="gone", PULLTHROUGH_AUTH__FAILED_ATTEMPTS="many") == [
        "PULLTHROUGH_AUTH__FAILED_ATTEMPTS: auth.failed_attempts: must be a whole number, not 'many'"
    ]
    assert faults(PULLTHROUGH_AUTH__POLICIES="[]") == [
        "PULLTHROUGH_AUTH__POLICIES: auth: nobody could be known: set htpasswd, access_keys, oidc or client_ca"
    ]
    assert faults(PULLTHROUGH_AUTH__HTPASWD="x") == [
        "PULLTHROUGH_AUTH__HTPASWD: there is no such setting; did you mean PULLTHROUGH_AUTH__HTPASSWD?"
    ]


def test_lists_and_mappings_are_json() -> None:
    settings = load(
        PULLTHROUGH_SERVER__HOSTS='["a", "b"]',
        PULLTHROUGH_UPSTREAMS__CONNECT_TO='{"quay.io": "127.0.0.1:8443"}',
        PULLTHROUGH_RULES='[{"prefix": "q", "upstream": "quay.io"}]',
    )
    assert settings.server.hosts == ("a", "b")
    assert settings.upstreams.connect_to == {"quay.io": "127.0.0.1:8443"}
    assert [rule.prefix for rule in settings.rules] == ["q"]


def test_a_list_replaces_and_a_mapping_is_laid_over() -> None:
    settings = load(
        f"{RULES}\nupstreams: {{connect_to: {{a: 'x:1', b: 'x:2'}}}}",
        PULLTHROUGH_RULES='[{"prefix": "c", "upstream": "c.example"}]',
        PULLTHROUGH_UPSTREAMS='{"connect_to": {"b": "y:3"}}',
    )
    assert [rule.prefix for rule in settings.rules] == ["c"]
    assert settings.upstreams.connect_to == {"a": "x:1", "b": "y:3"}


def test_the_deeper_key_wins() -> None:
    settings = load(PULLTHROUGH_SERVER='{"port": 1, "drain_timeout": 5}', PULLTHROUGH_SERVER__PORT="2")
    assert (settings.server.port, settings.server.drain_timeout.seconds) == (2, 5)


def test_places_in_lists_are_numbers_and_the_next_one_extends_the_list() -> None:
    settings = load(
        RULES,
        PULLTHROUGH_RULES__1__OFFLINE="true",
        PULLTHROUGH_RULES__2__PREFIX="c",
        PULLTHROUGH_RULES__2__UPSTREAM="c.example",
        PULLTHROUGH_RULES__3='{"prefix": "d", "upstream": "d.example"}',
    )
    assert [(rule.prefix, rule.offline) for rule in settings.rules] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("d", False),
    ]


def test_a_place_beyond_the_end_of_a_list_is_a_fault() -> None:
    assert faults(RULES, PULLTHROUGH_RULES__7__OFFLINE="true") == [
        "PULLTHROUGH_RULES__7__OFFLINE: rules[7].offline: the list has 2 entries: the next one has the number 2"
    ]


def test_a_fault_names_the_variable_that_it_comes_from() -> None:
    assert faults("server: {port: 1}", PULLTHROUGH_SERVER__PORT="high", PULLTHROUGH_LOG__LEVEL="loud") == [
        "PULLTHROUGH_LOG__LEVEL: log.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'",
        "PULLTHROUGH_SERVER__PORT: server.port: must be a whole number, not 'high'",
    ]


def test_a_key_that_a_rule_of_the_environment_lacks_is_told_with_its_variable() -> None:
    assert faults("log: {}", PULLTHROUGH_RULES__0__PREFIX="a") == [
        "PULLTHROUGH_RULES__0__PREFIX: rules[0].upstream: is missing"
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PULLTHROUGH_SERVER__PROT", "did you mean PULLTHROUGH_SERVER__PORT?"),
        ("PULLTHROUGH_SERVER_PORT", "did you mean PULLTHROUGH_SERVER__PORT?"),
        ("PULLTHROUGH_RULES__3__UPSTREEM", "did you mean PULLTHROUGH_RULES__0__UPSTREAM?"),
        ("PULLTHROUGH_SERVER__PORT__X", "did you mean PULLTHROUGH_SERVER__PORT?"),
        ("PULLTHROUGH_ZZZZZZZZZZZZZZZZZZZZ", "sections and keys are joined by two underscores"),
    ],
)
def test_a_variable_that_sets_nothing_is_a_fault(name: str, hint: str) -> None:
    assert faults(**{name: "1"}) == [f"{name}: there is no such setting; {hint}"]


@pytest.mark.parametrize("value", ["a,b", '{"a": 1}', "3", "[", ""])
def test_a_list_that_is_not_json_is_a_fault_and_an_empty_variable_is_not_set(value: str) -> None:
    if not value:
        assert load(PULLTHROUGH_SERVER__HOSTS=value) == Settings()
        return
    assert faults(PULLTHROUGH_SERVER__HOSTS=value) == [
        'PULLTHROUGH_SERVER__HOSTS: server.hosts: must be JSON: a list such as ["a", "b"]'
    ]


def test_a_section_that_is_not_a_json_object_is_a_fault() -> None:
    assert faults(PULLTHROUGH_SERVER="5000") == [
        'PULLTHROUGH_SERVER: server: must be JSON: an object such as {"key": "value"}'
    ]


def test_variables_of_kubernetes_services_and_the_path_of_the_file_are_not_settings() -> None:
    settings = load(
        PULLTHROUGH_CONFIG="/etc/pullthrough.yaml",
        PULLTHROUGH_SERVICE_HOST="10.0.0.1",
        PULLTHROUGH_SERVICE_PORT="5000",
        PULLTHROUGH_SERVICE_PORT_HTTP="5000",
        PULLTHROUGH_PORT="tcp://10.0.0.1:5000",
        PULLTHROUGH_PORT_5000_TCP="tcp://10.0.0.1:5000",
        PULLTHROUGH_PORT_5000_TCP_ADDR="10.0.0.1",
        PULLTHROUGH_MIRROR_PORT="tcp://10.0.0.2:5001",
        OTHER__PORT="1",
    )
    assert settings == Settings()


def test_a_variable_in_which_the_configuration_keeps_a_secret_is_not_a_setting() -> None:
    text = "rules: [{prefix: a, upstream: a.example, credentials: {username: u, password: {env: PULLTHROUGH_TOKEN}}}]"
    assert load(text, PULLTHROUGH_TOKEN="s3cret").rules[0].credentials is not None
    assert faults(PULLTHROUGH_TOKEN="s3cret") == [
        "PULLTHROUGH_TOKEN: there is no such setting; sections and keys are joined by two underscores"
    ]


def test_every_key_of_the_tree_has_a_variable() -> None:
    found = faults(**{variable(setting.key): "[" for setting in settings_of()}, PULLTHROUGH_X="1")
    assert [line.partition(":")[0] for line in found if "no such setting" in line] == ["PULLTHROUGH_X"]
