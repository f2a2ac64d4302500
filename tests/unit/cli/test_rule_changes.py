"""`pullthrough rules create`, `update` and `delete`: the rules of the API."""

from collections.abc import Callable
from datetime import datetime

import pytest

from tests.unit.cli.conftest import Shell

SECRET = "ecr-pullthroughcache/quay"


@pytest.fixture
def shell(make_shell: Callable[[str], Shell]) -> Shell:
    return make_shell("rules: [{prefix: docker-hub, upstream: registry-1.docker.io}]\n")


def prefixes(shell: Shell) -> list[str]:
    return [rule["prefix"] for rule in shell.ask("rules", "list")]


def test_a_rule_is_made_and_shown_as_the_api_tells_of_it(shell: Shell) -> None:
    made = shell.ask(
        "rules", "create", "quay/team", "quay.io", "--upstream-prefix", "team", "--custom-role-arn", "arn:r"
    )
    assert datetime.fromisoformat(made.pop("created_at")).tzinfo is not None
    assert made == {
        "prefix": "quay/team",
        "upstream": "quay.io",
        "upstream_registry": "quay",
        "upstream_prefix": "team",
        "credential_arn": None,
        "custom_role_arn": "arn:r",
        "updated_at": None,
    }
    assert prefixes(shell) == ["docker-hub", "quay/team"]
    assert shell.ask("resolve", "quay/team/app")["upstream"] == "https://quay.io/v2/team/app/manifests/latest"


def test_people_are_shown_what_a_rule_has(shell: Shell) -> None:
    lines = shell.run("rules", "create", "corp", "http://corp.example:8080")[0].splitlines()
    assert lines[:2] == ["prefix      corp", "upstream    http://corp.example:8080"]
    assert lines[2].startswith("created at  20")
    assert len(lines) == 3


def test_a_secret_may_be_named_and_its_arn_is_kept(shell: Shell) -> None:
    arn = shell.ask("secrets", "put", SECRET, "--username", "u", given="token\n")["arn"]
    assert shell.ask("rules", "create", "quay", "quay.io", "--credential-arn", SECRET)["credential_arn"] == arn
    assert shell.ask("rules", "update", "quay", "--credential-arn", arn)["updated_at"] is not None


def test_a_secret_that_is_not_there_makes_no_rule(shell: Shell) -> None:
    refusal = shell.refusal("rules", "create", "quay", "quay.io", "--credential-arn", SECRET, code=1)
    assert f"there is no secret {SECRET}" in refusal
    assert prefixes(shell) == ["docker-hub"]


def test_a_rule_in_place_of_the_files_uncovers_that_when_it_is_deleted(shell: Shell) -> None:
    shell.run("rules", "create", "docker-hub", "mirror.example")
    assert shell.ask("resolve", "docker-hub/a/b")["upstream"].startswith("https://mirror.example/")
    assert shell.ask("rules", "delete", "docker-hub/")["upstream"] == "mirror.example"
    assert shell.ask("resolve", "docker-hub/a/b")["upstream"].startswith("https://registry-1.docker.io/")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "quay/", "quay.io"], 1, "A pull through cache rule with these settings already exists"),
        (["create", "UPPER", "quay.io"], 2, "Invalid parameter at 'ecrRepositoryPrefix'"),
        (["create", "a", "ftp://quay.io"], 2, "Invalid parameter at 'upstreamRegistryUrl'"),
        (["create", "a", "quay.io", "--upstream-registry", "k8s"], 2, "upstreamRegistry is k8s, and quay.io is quay"),
        (["update", "nobody", "--custom-role-arn", "r"], 1, "The pull through cache rule was not found"),
        (["update", "quay"], 2, "nothing is to be changed"),
        (["update", "docker-hub", "--custom-role-arn", "r"], 2, "the rule docker-hub is written in the configuration"),
        (["delete", "docker-hub"], 2, "the rule docker-hub is written in the configuration"),
        (["delete", "nobody"], 1, "The pull through cache rule was not found"),
    ],
)
def test_what_is_refused_is_told_in_one_line_and_changes_nothing(
    shell: Shell, arguments: list[str], code: int, words: str
) -> None:
    shell.run("rules", "create", "quay", "quay.io")
    before = shell.ask("rules", "list")
    assert shell.refusal("rules", *arguments, code=code).startswith(words)
    assert shell.ask("rules", "list") == before


def test_in_the_character_of_ecr_its_upstreams_are_those_of_ecr(make_shell: Callable[[str], Shell]) -> None:
    shell = make_shell("registry: {compatibility: ecr}\n")
    unknown = shell.refusal("rules", "create", "a", "registry.example", code=2)
    assert unknown == "The specified upstream registry isn't supported."
    without = shell.refusal("rules", "create", "docker-hub", "registry-1.docker.io", code=2)
    assert without.startswith("The specified upstream registry requires authentication.")
    shell.run("rules", "create", "quay", "quay.io")
