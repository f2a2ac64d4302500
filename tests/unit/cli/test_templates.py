"""`pullthrough templates`: what repositories get that a pull or a push makes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.cli.kept import keep

SELECTION = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}
LIFECYCLE = json.dumps({"rules": [{"rulePriority": 1, "selection": SELECTION, "action": {"type": "expire"}}]})


@pytest.fixture
def shell(make_shell: Callable[[str], Shell]) -> Shell:
    return make_shell("")


def test_a_repository_that_a_push_makes_gets_what_the_template_says(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "lifecycle.json"
    file.write_text(LIFECYCLE, encoding="utf-8")
    options = ["--tag-mutability", "immutable_with_exclusion", "--filter", "latest", "--resource-tag", "team=a"]
    options += ["--lifecycle-policy", str(file), "--description", "for the team"]
    lines = shell.run("templates", "create", "team", "--applied-for", "create-on-push", *options)[0].splitlines()
    assert lines[:5] == [
        "prefix          team",
        "applied for     CREATE_ON_PUSH",
        "description     for the team",
        "tag mutability  IMMUTABLE_WITH_EXCLUSION latest",
        "gives           lifecycle policy, resource tags",
    ]
    keep(shell.config, "team/app", "1")
    keep(shell.config, "other/app", "1")
    made, other = (shell.ask("repositories", "show", name) for name in ("team/app", "other/app"))
    assert (made["tag_mutability"], made["filters"], made["own_policy"]) == (
        "IMMUTABLE_WITH_EXCLUSION",
        ["latest"],
        True,
    )
    assert (made["resource_tags"], made["lifecycle_policy"]) == ({"team": "a"}, True)
    assert (other["resource_tags"], other["lifecycle_policy"]) == ({}, False)


def test_templates_are_listed_and_deleted(shell: Shell) -> None:
    assert shell.run("templates", "list")[0] == "there are no templates\n"
    shell.run("templates", "create", "ROOT", "--applied-for", "PULL_THROUGH_CACHE", "--applied-for", "CREATE_ON_PUSH")
    (found,) = shell.ask("templates", "list")
    assert (found["prefix"], found["applied_for"], found["tag_mutability"]) == (
        "ROOT",
        ["PULL_THROUGH_CACHE", "CREATE_ON_PUSH"],
        "MUTABLE",
    )
    assert "PULL_THROUGH_CACHE CREATE_ON_PUSH" in shell.run("templates", "list")[0]
    assert shell.ask("templates", "delete", "ROOT") == {"prefix": "ROOT", "deleted": True}
    assert shell.ask("templates", "list") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "team/", "--applied-for", "create-on-push"], 1, "The repository creation template already exists"),
        (["create", "a", "--applied-for", "always"], 2, "there is no scenario 'always'; there are: PULL_THROUGH_CACHE"),
        (["create", "a", "--applied-for", "replication", "--filter", "v*"], 2, "filters need a mode"),
        (
            ["create", "a", "--applied-for", "replication", "--repository-policy", "nowhere"],
            2,
            "nowhere cannot be read",
        ),
        (["delete", "nobody"], 1, "The specified repository creation template can't be found"),
    ],
)
def test_what_is_refused_is_told_in_one_line(shell: Shell, arguments: list[str], code: int, words: str) -> None:
    shell.run("templates", "create", "team", "--applied-for", "create-on-push")
    assert shell.refusal("templates", *arguments, code=code).startswith(words)
    assert len(shell.ask("templates", "list")) == 1
