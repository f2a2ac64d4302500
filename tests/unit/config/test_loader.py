"""Bad input: one line per fault, each with its place, the key, and how to mend it."""

import os
from pathlib import Path

import pytest
import trustme

from proxy.cli.settings_text import settings_text
from proxy.config.auth import AuthSettings
from proxy.config.faults import ConfigurationError
from proxy.config.loader import DEFAULT_PATH, find_path, load_settings, parse_settings
from proxy.config.settings import Settings
from proxy.core.rules import RuleSet

LONG = "x" * 300
RULE = "rules: [{prefix: a, upstream: a.example"
DURATION = "a duration is a number with a unit, such as 30s, 5m or 24h"
CREDENTIALS = "give username with password, or docker_config, or helper, or ecr, or secret: exactly one of them"
NAME = "a repository name is lower-case words joined by . _ __ - and /, at most 255 characters"
EMPTY_AUTH = "is empty: say who is known, leave it out, or write `auth: none` to let everyone do everything"
EMPTY_POLICIES = "is empty: write [] to grant nothing, or leave it out to let all who are known do everything"
ACTION = "actions[0]: must be 'pull', 'first_pull', 'push', 'delete', 'admin' or 'metrics', not 'pul'"
ORIGIN = "a public URL is http://host[:port] or https://host[:port], without a path"
PROXIED = (
    "behind a proxy, issuer and jwks_url are https URLs: another machine would see, and could forge, what they answer"
)


def faults(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(text, environ, RuleSet.of)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.faults)
    return [line.removeprefix("<text>:") for line in lines]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A password file without users."""
    file = tmp_path / "users"
    file.touch()
    return file


def test_an_empty_file_means_the_defaults() -> None:
    assert parse_settings("", {}) == Settings()
    assert parse_settings("# nothing\n", {}) == Settings()


def test_a_section_with_nothing_but_comments_means_its_defaults() -> None:
    assert parse_settings("server:\nrules:\n  # - {prefix: a}\n", {}) == Settings()


def test_the_shipped_file_is_the_default_of_every_key_it_names_and_has_six_rules() -> None:
    settings = load_settings(DEFAULT_PATH, {}, RuleSet.of)
    assert [(rule.prefix, rule.upstream) for rule in settings.rules] == [
        ("docker-hub", "registry-1.docker.io"),
        ("quay", "quay.io"),
        ("k8s", "registry.k8s.io"),
        ("ghcr", "ghcr.io"),
        ("gitlab", "registry.gitlab.com"),
        ("ecr-public", "public.ecr.aws"),
    ]
    assert [(mirror.port, mirror.rule) for mirror in settings.mirrors] == [(5001, "docker-hub")]
    assert settings.model_copy(update={"rules": (), "mirrors": ()}) == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("servr: {}", "1: servr: unknown key; did you mean `server`?"),
        ("port: 1", "1: port: unknown key; did you mean `server.port`?"),
        ("\nserver: {prot: 1}", "2: server.prot: unknown key; did you mean `server.port`?"),
        ("log: {zzz: 1}", "1: log.zzz: unknown key; known here: format, level"),
        ("server:\n  port: eighty", "2: server.port: must be a whole number, not 'eighty'"),
        ("server: {port: 65536}", "1: server.port: must be 65535 or less, not 65536"),
        ("server: {port: 1.5}", "1: server.port: must be a whole number, not 1.5"),
        ("server: 5000", "1: server: must be a mapping, not 5000"),
        ("server: {public_url: 'ftp://x'}", f"1: server.public_url: {ORIGIN}"),
        (
            "storage: {min_free: lots}",
            "1: storage.min_free: a size is a number with a unit, such as 512 MiB or 1 GiB, not 'lots'",
        ),
        ("registry: {account_id: 000000000000}", "1: registry.account_id: must be text, not 0; write it in quotes"),
        ("registry: {compatibility: strict}", "1: registry.compatibility: must be 'relaxed' or 'ecr', not 'strict'"),
        ("upstreams: {offline: maybe}", "1: upstreams.offline: must be true or false, not 'maybe'"),
        ("upstreams: {budget: soon}", f"1: upstreams.budget: {DURATION}"),
        ("upstreams: {budget: -5}", f"1: upstreams.budget: {DURATION}"),
        ("upstreams: {budget: 0s}", "1: upstreams.budget: must be more than 0s"),
        ("upstreams: {budget: 99999999999d}", f"1: upstreams.budget: {DURATION}"),
        ("upstreams: {connect_to: {a: b}}", "1: upstreams.connect_to: 'b' is not address:port"),
        ("fills: {segment: 0}", "1: fills.segment: must be more than 0, not 0"),
        ("fills: {attempts: 0}", "1: fills.attempts: must be 1 or more, not 0"),
        ("auth: open", "1: auth: must be a mapping, or the word none"),
        ("auth: yes", "1: auth: must be a mapping, or the word none"),
        ("auth: [htpasswd]", "1: auth: must be a mapping, or the word none"),
        ("log: {}\nauth:\n  # htpasswd: users", f"2: auth: {EMPTY_AUTH}"),
        ("auth: {}", "1: auth: nobody could be known: set htpasswd, access_keys, oidc or client_ca"),
        ("auth: {htpaswd: u}", "1: auth.htpaswd: unknown key; did you mean `auth.htpasswd`?"),
        ("auth: {htpasswd: [u]}", "1: auth.htpasswd: must be a path"),
        ("auth: {htpasswd: u, failed_attempts: 0}", "1: auth.failed_attempts: must be 1 or more, not 0"),
        ("auth: {htpasswd: u, policies: [{principals: [a], actions: [pul]}]}", f"1: auth.policies[0].{ACTION}"),
        (
            "auth: {htpasswd: u, policies: [{principals: [], actions: [pull]}]}",
            "1: auth.policies[0].principals: must have 1 or more entries",
        ),
        ("auth: {htpasswd: u, policies: [{actions: [pull]}]}", "1: auth.policies[0].principals: is missing"),
        ("auth: {oidc: [{issuer: 'https://i'}]}", "1: auth.oidc[0].audience: is missing"),
        (
            "auth: {oidc: [{issuer: 'https://i', audience: a, proxy: 'p:3128'}]}",
            "1: auth.oidc[0].proxy: a forward proxy is http://[user:password@]host:port",
        ),
        (
            "auth: {oidc: [{issuer: 'http://localhost:8080', audience: a, proxy: 'http://p:3128'}]}",
            f"1: auth.oidc[0]: {PROXIED}",
        ),
        (
            "auth: {oidc: [{issuer: 'https://i', jwks_url: 'http://[::1]/', audience: a, proxy: 'http://p:3128'}]}",
            f"1: auth.oidc[0]: {PROXIED}",
        ),
        ("mirrors: 3", "1: mirrors: must be a list, not 3"),
        ("rules: [nonsense]", "1: rules[0]: must be a mapping, not 'nonsense'"),
        ("rules:\n- {prefix: a, upstream: a.example}\n- {prefix: b}", "3: rules[1].upstream: is missing"),
        (f"{RULE}, upstrem: b}}]", "1: rules[0].upstrem: unknown key; did you mean `rules[0].upstream`?"),
        ("rules: [{prefix: A, upstream: a.example}]", f"1: rules[0].prefix: {NAME}"),
        (
            "rules: [{prefix: a, upstream: 'a b'}]",
            "1: rules[0].upstream: 'a b' is not host[:port], https://host[:port] or http://host[:port]",
        ),
        (
            f"{RULE}, on_upstream_404: ignore}}]",
            "1: rules[0].on_upstream_404: must be 'serve', 'not_found' or 'purge', not 'ignore'",
        ),
        (f"{RULE}, credentials: {{username: u}}}}]", f"1: rules[0].credentials: {CREDENTIALS}"),
        (
            f"{RULE}, credentials: {{username: u, password: {{}}}}}}]",
            "1: rules[0].credentials.password: a secret is {env: VARIABLE} or {file: PATH}, exactly one of them",
        ),
    ],
)
def test_a_wrong_value_is_one_line_that_names_place_key_and_remedy(text: str, expected: str) -> None:
    assert faults(text) == [expected]


def test_every_fault_of_a_file_is_told_at_once_in_its_order() -> None:
    found = faults("rules: [{prefix: a//b}]\nserver: {port: x}\nlog: {level: loud}\nfoo: 1\n")
    assert [line.partition(" ")[0] + line.split(":")[1] for line in found] == [
        "1: rules[0].prefix",
        "1: rules[0].upstream",
        "2: server.port",
        "3: log.level",
        "4: foo",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "1: is not YAML: expected the node content, but found '<stream end>'"),
        ("server:\n\tport: 1", "2: is not YAML: found character '\\t' that cannot start any token"),
        ("server: {port: 1}\nlog: {}\nserver: {}", "3: server: this key is written twice"),
        ("rules:\n- prefix: a\n  upstream: b\n  prefix: c", "4: rules[0].prefix: this key is written twice"),
        ("- a", " must hold sections such as `server:` and `rules:`"),
        ("a: &a [*a]", "1: is not YAML: an alias contains itself"),
        ("a: *b", "1: is not YAML: found undefined alias 'b'"),
        ("a: " + 9999 * "[", " is nested too deeply"),
        ("a: \x00", " is not YAML: a character that is not allowed stands at position 3"),
        (
            "a: !!python/name:os.system x",
            "1: is not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
    ],
)
def test_what_is_not_a_configuration_in_yaml_is_refused_with_its_line(text: str, expected: str) -> None:
    assert faults(text) == [expected]


def test_anchors_and_merge_keys_work() -> None:
    settings = parse_settings(
        "rules:\n- &one {prefix: a, upstream: a.example, stale_after: 9s}\n- {<<: *one, prefix: b, ns: true}\n", {}
    )
    assert [(rule.prefix, rule.stale_after.seconds) for rule in settings.rules] == [("a", 9), ("b", 9)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{RULE}}}, {{prefix: a/, upstream: b.example}}]",
            "1: rules[1].prefix: 'a' is already the prefix of rules[0]",
        ),
        (
            f"{RULE}}}]\nmirrors: [{{port: 1, rule: b}}]",
            "2: mirrors[0].rule: there is no rule with the prefix 'b'; there are: a",
        ),
        (
            f"{RULE}}}]\nmirrors: [{{port: 5000, rule: a}}]",
            "2: mirrors[0].port: port 5000 is already that of server.port",
        ),
        (
            f"{RULE}}}]\nmirrors: [{{port: 7, rule: a}}, {{port: 7, rule: a}}]",
            "2: mirrors[1].port: port 7 is already that of mirrors[0].port",
        ),
        ("upstreams: {ca_file: gone.pem}", f"1: upstreams.ca_file: there is no file {Path.cwd() / 'gone.pem'}"),
        ("upstreams: {ca_file: config}", "1: upstreams.ca_file: config is not a file"),
        (f"upstreams: {{ca_file: {LONG}}}", f"1: upstreams.ca_file: {LONG} cannot be read: File name too long"),
        (f"auth: {{htpasswd: {LONG}}}", f"1: auth.htpasswd: {LONG} cannot be read: File name too long"),
        ("auth: {htpasswd: gone/users}", f"1: auth.htpasswd: there is no file {Path.cwd() / 'gone/users'}"),
        ("upstreams: {ca_file: pyproject.toml}", "1: upstreams.ca_file: pyproject.toml holds no certificates in PEM"),
        (f"{RULE}, ca_file: gone.pem}}]", f"1: rules[0].ca_file: there is no file {Path.cwd() / 'gone.pem'}"),
        (
            f"{RULE}, credentials: {{username: u, password: {{file: gone}}}}}}]",
            f"1: rules[0].credentials.password.file: there is no file {Path.cwd() / 'gone'}",
        ),
        (
            f"{RULE}, credentials: {{username: u, password: {{env: GONE}}}}}}]",
            "1: rules[0].credentials.password.env: the environment variable GONE is not set",
        ),
        (
            f"{RULE}, credentials: {{docker_config: gone}}}}]",
            f"1: rules[0].credentials.docker_config: there is no file {Path.cwd() / 'gone'}",
        ),
        (
            f"{RULE}, credentials: {{helper: gone}}}}]",
            "1: rules[0].credentials.helper: there is no program docker-credential-gone on PATH",
        ),
    ],
)
def test_settings_that_do_not_fit_together_or_name_what_is_not_there_are_faults(text: str, expected: str) -> None:
    assert faults(text, PATH="/nowhere") == [expected]


def test_free_ports_may_be_asked_for_more_than_once() -> None:
    mirrors = "mirrors: [{port: 0, rule: a}, {port: 0, rule: a}]"
    assert len(parse_settings(f"{RULE}}}]\nserver: {{port: 0}}\n{mirrors}", {}).mirrors) == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "registry.example", ""])
def test_an_address_that_others_reach_needs_a_word_about_authentication(host: str) -> None:
    (line,) = faults(f"server: {{host: '{host}'}}")
    assert line.startswith(f"1: server.host: {host!r} is reachable from other machines, and `auth` is not set")
    assert parse_settings(f"server: {{host: '{host}'}}\nauth: none", {}).auth == "none"


def test_asking_who_clients_are_lets_others_reach_the_registry(users: Path) -> None:
    settings = parse_settings(f"server: {{host: 0.0.0.0}}\nauth: {{htpasswd: '{users}'}}", {})
    assert isinstance(settings.auth, AuthSettings)
    assert settings.auth.policies is None


def test_policies_that_grant_nothing_are_not_absent(users: Path) -> None:
    settings = parse_settings(f"auth: {{htpasswd: '{users}', policies: []}}", {})
    assert isinstance(settings.auth, AuthSettings)
    assert settings.auth.grants == ()
    assert faults(f"auth:\n  htpasswd: '{users}'\n  policies:\n  # - {{principals: [bob], actions: [pull]}}") == [
        f"3: auth.policies: {EMPTY_POLICIES}"
    ]


def test_ecr_lets_nobody_in_who_is_not_known(users: Path) -> None:
    text = f"auth:\n  htpasswd: '{users}'\n  policies:\n  - {{principals: [bob, anonymous], actions: [pull]}}\n"
    assert isinstance(parse_settings(text, {}).auth, AuthSettings)
    (fault,) = faults(f"{text}registry: {{compatibility: ecr}}")
    assert fault.startswith("4: auth.policies[0].principals: ECR lets nobody in without a password: leave `anonymous`")


def test_client_certificates_need_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    text = f"auth: {{client_ca: '{tmp_path}/ca.pem'}}"
    assert faults(text) == ["1: auth.client_ca: clients show certificates where TLS is spoken: set server.tls, too"]
    assert parse_settings(f"{text}\nserver: {{tls: {{certificate: '{tmp_path}/own.pem'}}}}", {}).server.tls is not None


def test_files_of_identities_must_be_there_and_hold_what_they_should(users: Path, tmp_path: Path) -> None:
    users.write_text("# people\nbob:hunter2\n", encoding="utf-8")
    keys, noise = tmp_path / "keys", tmp_path / "noise"
    keys.write_text("PTAAAAAAAAAAAAAAAAAA hunter2 bob\n", encoding="utf-8")
    noise.write_bytes(b"a\n\xff")
    text = f"auth:\n  htpasswd: '{users}'\n  access_keys: '{keys}'\n  client_ca: '{keys}'\n"
    bcrypt = "only bcrypt hashes are taken ($2a$, $2b$, $2y$): have the line made by `htpasswd -B`, or by `pullthrough"
    secret = "the secret of a key, which comes second, is 16 to 256 printable ASCII characters"
    assert faults(f"{text}server: {{tls: {{certificate: x}}}}") == [
        f"2: auth.htpasswd: {users}:2: {bcrypt} users set`",
        f"3: auth.access_keys: {keys}:1: {secret}",
        f"4: auth.client_ca: {keys} holds no certificates in PEM",
        f"5: server.tls.certificate: there is no file {Path.cwd() / 'x'}",
    ]
    oidc = "oidc: [{issuer: 'https://i.example', audience: a, ca_file: gone}]"
    assert faults(f"auth: {{htpasswd: '{noise}', access_keys: gone, {oidc}}}") == [
        f"1: auth.htpasswd: {noise}:2: this line is not UTF-8 text",
        f"1: auth.access_keys: there is no file {Path.cwd() / 'gone'}: `pullthrough access-keys create NAME` makes it",
        f"1: auth.oidc[0].ca_file: there is no file {Path.cwd() / 'gone'}",
    ]


def test_a_user_cannot_have_the_name_of_an_identity_provider(users: Path) -> None:
    users.write_text(f"github:$2y$05${'.' * 53}\n", encoding="utf-8")
    oidc = "oidc: [{name: github, issuer: 'https://i.example', audience: a}]"
    assert faults(f"auth: {{htpasswd: '{users}', {oidc}}}") == [
        f"1: auth.htpasswd: the user 'github' of {users} has the name of an identity provider: rename one of them"
    ]


def test_what_the_settings_name_need_not_be_there_where_nobody_looks(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("auth: {htpasswd: gone}\nserver: {tls: {certificate: gone}}", encoding="utf-8")
    assert isinstance(load_settings(file, {}, surroundings=False).auth, AuthSettings)
    file.write_text("auth: {client_ca: gone}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"set server\.tls, too"):
        load_settings(file, {}, surroundings=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert parse_settings(f"server: {{host: '{host}'}}", {}).server.host == host


def test_rules_among_which_ns_could_not_choose_are_a_fault_of_the_rules() -> None:
    (line,) = faults(f"log: {{}}\n{RULE}}}, {{prefix: b, upstream: a.example}}]")
    assert line.startswith("2: rules: the rules a, b all have the upstream a.example")


def test_no_fault_repeats_a_secret() -> None:
    found = faults(
        "rules:\n"
        "- {prefix: a, upstream: 'https://u:hunter2@h', proxy: 'ftp://u:hunter2@h'}\n"
        "- {prefix: b, upstream: b, credentials: hunter2}\n"
        "- {prefix: c, upstream: c, credentials: {username: u, password: hunter2}}\n"
        "- {prefix: d, upstream: d, credentials: {username: u, password: {env: [hunter2]}}}\n"
        "- {prefix: e, upstream: e, credentials: {username: u, passwrd: hunter2}}\n"
        "- {prefix: f, upstream: f, credentials: {helper: 'hunter2 '}}\n"
        "- {prefix: g, upstream: g, proxy: [hunter2]}\n"
        "auth: admin:hunter2\n",
        PULLTHROUGH_RULES__0__CREDENTIALS='{"password": "hunter2"',
    )
    assert len(found) >= 9
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize("issuer", ["https://i", "http://localhost", "ftp://i"])
@pytest.mark.parametrize("proxy", ["http://u:hunter2@h:3128", "ftp://u:hunter2@h", "[hunter2]", "{hunter2: a}"])
def test_no_fault_of_a_provider_repeats_the_password_of_its_proxy(issuer: str, proxy: str) -> None:
    text = proxy if proxy[0] in "[{" else f"'{proxy}'"
    found = faults(f"auth: {{oidc: [{{issuer: '{issuer}', audience: a, claims: 1, proxy: {text}}}]}}")
    assert found
    assert "hunter2" not in "".join(found)


def test_a_syntax_error_beside_a_secret_does_not_repeat_it() -> None:
    assert "hunter2" not in "".join(faults("rules: [{credentials: {password: hunter2}]"))


def test_the_settings_do_not_show_the_password_of_a_forward_proxy() -> None:
    settings = parse_settings(f"{RULE}, proxy: 'http://u:hunter2@proxy.example:3128'}}]", {})
    assert "hunter2" not in repr(settings)
    assert settings.cache_rules()[0].proxy == "http://u:hunter2@proxy.example:3128"
    assert "hunter2" not in repr(settings.cache_rules())
    proxy = "http://u:hunter2@proxy.example:3128"
    settings = parse_settings(f"auth: {{oidc: [{{issuer: 'https://i', audience: a, proxy: '{proxy}'}}]}}", {})
    assert isinstance(settings.auth, AuthSettings)
    assert settings.auth.oidc[0].proxy == proxy
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings_text(settings)


def test_a_bundle_of_authorities_that_is_there_is_accepted(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    assert parse_settings(f"upstreams: {{ca_file: '{bundle}'}}", {}).upstreams.ca_file == bundle


def test_a_file_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: there is no such file; name one by --config"):
        load_settings(tmp_path / "gone.yaml", {})


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {})


def test_a_file_that_is_not_text_is_one_fault(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"log: \xff")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text: wrong byte at position 5"):
        load_settings(file, {})


def test_the_file_is_the_option_else_the_variable_else_the_default() -> None:
    environ = {"PULLTHROUGH_CONFIG": "by-variable.yaml"}
    assert find_path(Path("by-option.yaml"), environ) == Path("by-option.yaml")
    assert find_path(None, environ) == Path("by-variable.yaml")
    assert find_path(None, {"PULLTHROUGH_CONFIG": ""}) == find_path(None, {}) == Path("config/pullthrough.yaml")


def test_relative_paths_stay_relative_to_the_working_folder(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("storage: {path: ./cache}", encoding="utf-8")
    assert load_settings(file, {}).storage.path == Path("cache")


def test_the_environment_is_not_changed_by_loading() -> None:
    before = dict(os.environ)
    load_settings(DEFAULT_PATH, os.environ)
    assert dict(os.environ) == before
