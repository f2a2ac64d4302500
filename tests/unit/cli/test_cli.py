"""The command line: data on standard output, faults on standard error, exit codes that scripts can trust."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from proxy import __version__
from proxy.cli.commands import app
from proxy.config.loader import load_settings, parse_settings

NAME = "a repository name is lower-case words joined by . _ __ - and /, at most 255 characters"
CONFIG = """
server: {port: 0}
storage: {path: STORE}
mirrors: [{port: 5001, rule: docker-hub}]
rules:
  - {prefix: docker-hub, upstream: registry-1.docker.io}
  - {prefix: quay, upstream: quay.io, upstream_prefix: team, deny: ["team/secret/**"]}
  - {prefix: corp, upstream: "http://corp.example:8080", offline: true}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pullthrough.yaml"
    path.write_text(CONFIG.replace("STORE", str(tmp_path / "store")), encoding="utf-8")
    return path


def run(*arguments: str | Path, code: int = 0, **environ: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environ)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version") == (f"pullthrough {__version__}\n", "")


def test_help_lists_every_command_and_imports_nothing_of_the_product() -> None:
    program = (
        "import sys; sys.argv = ['pullthrough', '--help']\n"
        "from proxy.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('IMPORTED', {'pydantic', 'aiohttp', 'sqlalchemy'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.endswith("IMPORTED set()\n")
    for command in (
        "serve",
        "check-config",
        "resolve",
        "refresh",
        "purge",
        "rules",
        "repositories",
        "templates",
        "secrets",
        "users",
        "access-keys",
    ):
        assert f" {command} " in told


def test_check_config_counts_the_rules(config: Path) -> None:
    assert run("check-config", "--config", config) == (f"{config}: no faults; 3 rules\n", "")


def test_the_file_may_be_named_by_the_environment(config: Path) -> None:
    assert run("check-config", PULLTHROUGH_CONFIG=str(config))[0] == f"{config}: no faults; 3 rules\n"


@pytest.mark.parametrize("more", ["", ", policies: []", ", policies: [{principals: [a], actions: [pull]}]"])
def test_the_settings_shown_say_the_same_of_who_may_use_the_registry(config: Path, more: str, tmp_path: Path) -> None:
    (tmp_path / "users").touch()
    with config.open("a", encoding="utf-8") as file:
        file.write(f"auth: {{htpasswd: '{tmp_path}/users'{more}}}\n")
    out, _ = run("check-config", "--config", config, "--show")
    assert parse_settings(out, {}) == load_settings(config, {})


def test_the_settings_in_force_are_a_configuration_that_says_the_same(config: Path) -> None:
    out, _ = run("check-config", "--config", config, "--show", PULLTHROUGH_LOG__LEVEL="debug")
    shown = parse_settings(out, {})
    assert shown.log.level == "debug"
    assert shown == parse_settings(config.read_text(encoding="utf-8"), {"PULLTHROUGH_LOG__LEVEL": "debug"})


def test_the_settings_in_force_are_shown_without_secrets(config: Path) -> None:
    out, _ = run(
        "check-config", "--config", config, "--show", PULLTHROUGH_RULES__1__PROXY="http://u:hunter2@proxy.example:3128"
    )
    assert yaml.safe_load(out)["rules"][1]["proxy"] == "http://***@proxy.example:3128"
    assert "hunter2" not in out


@pytest.mark.parametrize(
    "command",
    [
        ["check-config"],
        ["serve"],
        ["resolve", "a"],
        ["refresh", "a"],
        ["purge", "a:b"],
        ["rules", "list"],
        ["rules", "validate", "a"],
        ["repositories", "list"],
        ["repositories", "show", "a"],
        ["repositories", "create", "a"],
        ["repositories", "set-tag-mutability", "a", "IMMUTABLE"],
        ["repositories", "images", "a"],
        ["repositories", "delete-image", "a:b"],
        ["repositories", "delete", "a"],
        ["repositories", "policy", "get", "a"],
        ["repositories", "lifecycle", "preview", "a"],
        ["rules", "create", "a", "a.example"],
        ["rules", "update", "a", "--credential-arn", "b"],
        ["rules", "delete", "a"],
        ["templates", "list"],
        ["templates", "create", "a", "--applied-for", "create-on-push"],
        ["secrets", "list"],
        ["secrets", "put", "a"],
        ["secrets", "delete", "a"],
    ],
)
def test_every_command_refuses_a_faulty_configuration_with_a_line_per_fault(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("server: {prot: 1}\nrules: [{prefix: A}]\n", encoding="utf-8")
    out, err = run(*command, "--config", path, code=2)
    assert out == ""
    assert err.splitlines() == [
        f"{path}:1: server.prot: unknown key; did you mean `server.port`?",
        f"{path}:2: rules[0].prefix: {NAME}",
        f"{path}:2: rules[0].upstream: is missing",
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_command_line_is_refused(config: Path) -> None:
    assert "--nonsense" in run("check-config", "--nonsense", code=2)[1]
    assert run("resolve", "UPPER", "--config", config, code=2)[1].startswith("UPPER: a repository name is")
    assert run("resolve", "a", "--mirror", "9", "--config", config, code=2)[1] == (
        "no mirror listens on port 9; there are: 5001\n"
    )
    assert "name a tag or a digest" in run("purge", "docker-hub/library/a", "--config", config, code=2)[1]
    assert "name a tag or a digest" in run("purge", "docker-hub/a:1", "--all", "--config", config, code=2)[1]


@pytest.mark.parametrize(
    ("arguments", "rule", "repository", "upstream"),
    [
        (["docker-hub/nginx"], "docker-hub", "docker-hub/library/nginx", "https://registry-1.docker.io/v2/library/nginx/manifests/latest"),
        (["localhost:5000/docker-hub/a/b:1.2"], "docker-hub", "docker-hub/a/b", "https://registry-1.docker.io/v2/a/b/manifests/1.2"),
        (["nginx:x", "--mirror", "5001"], "docker-hub", "docker-hub/library/nginx", "https://registry-1.docker.io/v2/library/nginx/manifests/x"),
        (["library/nginx", "--ns", "docker.io"], "docker-hub", "docker-hub/library/nginx", "https://registry-1.docker.io/v2/library/nginx/manifests/latest"),
        (["quay/app"], "quay", "quay/app", "https://quay.io/v2/team/app/manifests/latest"),
        (["corp/app"], "corp", "corp/app", "http://corp.example:8080/v2/app/manifests/latest"),
        (["own/app"], None, "own/app", None),
    ],
)  # fmt: skip
def test_resolve_shows_where_a_name_leads(
    config: Path, arguments: list[str], rule: str | None, repository: str, upstream: str | None
) -> None:
    out, err = run("resolve", *arguments, "--json", "--config", config)
    answer = json.loads(out)
    assert err == ""
    assert answer.pop("reason")
    answer.pop("reference")
    assert answer == {"rule": rule, "repository": repository, "upstream": upstream}


def test_resolve_makes_no_store_and_knows_the_rules_that_the_api_made_where_there_is_one(
    config: Path, tmp_path: Path
) -> None:
    def lead(name: str) -> str | None:
        upstream: str | None = json.loads(run("resolve", name, "--json", "--config", config)[0])["upstream"]
        return upstream

    assert lead("k8s/pause") is None
    assert not (tmp_path / "store").exists()
    run("rules", "create", "k8s", "registry.k8s.io", "--config", config)
    assert lead("k8s/pause") == "https://registry.k8s.io/v2/pause/manifests/latest"


def test_where_a_store_cannot_be_looked_at_resolve_does_not_guess(config: Path) -> None:
    path = f"{config.parent}/{'a' * 300}"  # longer than names of files may be
    _, err = run("resolve", "a/b", "--config", config, code=2, PULLTHROUGH_STORAGE__PATH=path)
    assert err.startswith(f"{path}/metadata.sqlite cannot be looked at (File name too long)")


def test_resolve_by_digest_names_the_digest(config: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    out, _ = run("resolve", f"docker-hub/nginx:1@{digest}", "--json", "--config", config)
    assert json.loads(out)["reference"] == digest


def test_resolve_speaks_to_people_in_lines(config: Path) -> None:
    out, _ = run("resolve", "own/app:1", "--config", config)
    assert out.splitlines()[:4] == [
        "rule        -",
        "repository  own/app",
        "reference   1",
        "upstream    -",
    ]
    assert out.splitlines()[4].startswith("reason      own/app is outside the prefix of every rule")


def test_a_name_that_its_rule_keeps_back_is_explained_and_a_failure(config: Path) -> None:
    sentence = "rule quay does not let team/secret/a be pulled: it matches team/secret/** in its `deny`"
    out, err = run("resolve", "quay/secret/a", "--json", "--config", config, code=1)
    answer = json.loads(out)
    assert err == ""
    assert (answer["rule"], answer["repository"], answer["upstream"]) == ("quay", "quay/secret/a", None)
    assert answer["reason"] == (
        f"it begins with quay/, the prefix of a rule; upstream it is quay.io/team/secret/a; {sentence}"
    )
    assert run("refresh", "quay/secret/a", "--config", config, code=1) == ("", f"{sentence}\n")


def test_what_was_kept_of_a_name_that_is_kept_back_now_can_be_purged(config: Path) -> None:
    out, _ = run("purge", "quay/secret/a:1", "--json", "--config", config, code=1)
    assert json.loads(out) == {"repository": "quay/secret/a", "purged": False}


def test_a_name_that_leads_nowhere_is_a_failure(config: Path) -> None:
    out, err = run("resolve", "a/b", "--ns", "unknown.example", "--config", config, code=1)
    assert out == ""
    assert err == "no cache rule has the upstream that ns='unknown.example' names\n"
