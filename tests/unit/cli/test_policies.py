"""`pullthrough repositories policy` and `lifecycle`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell
from tests.unit.cli.kept import keep

POLICY = '{"Version": "2012-10-17",\n "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]}\n'


def lifecycle(kept: int) -> str:
    """Return a policy that keeps so many images without tags."""
    selection = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": kept}
    return json.dumps({"rules": [{"rulePriority": 7, "selection": selection, "action": {"type": "expire"}}]})


@pytest.fixture
def shell(make_shell: Callable[[str], Shell]) -> Shell:
    made = make_shell("")
    made.run("repositories", "create", "team/app")
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(POLICY, encoding="utf-8")
    return path


def test_a_policy_comes_back_byte_for_byte_and_goes(shell: Shell, file: Path) -> None:
    words = "Repository policy does not exist for the repository with name 'team/app'"
    assert shell.refusal("repositories", "policy", "get", "team/app", code=1).startswith(words)
    shell.run("repositories", "policy", "put", "team/app", str(file))
    assert shell.run("repositories", "policy", "get", "team/app")[0] == POLICY
    assert shell.ask("repositories", "policy", "get", "team/app") == {"repository": "team/app", "policy": POLICY}
    assert shell.ask("repositories", "show", "team/app")["policy"] is True
    assert shell.ask("repositories", "policy", "delete", "team/app") == {"repository": "team/app", "policy": None}
    assert shell.refusal("repositories", "policy", "delete", "team/app", code=1).startswith(words)


def test_a_policy_may_come_from_standard_input(shell: Shell) -> None:
    shell.run("repositories", "policy", "put", "team/app", "-", given=POLICY)
    assert shell.run("repositories", "policy", "get", "team/app")[0] == POLICY


@pytest.mark.parametrize("kind", ["policy", "lifecycle"])
def test_what_is_no_policy_is_refused(shell: Shell, kind: str) -> None:
    words = "Invalid parameter at"
    assert shell.refusal("repositories", kind, "put", "team/app", "-", given="{", code=2).startswith(words)
    shell.refusal("repositories", kind, "get", "team/app", code=1)


def test_a_file_that_is_no_text_is_refused(shell: Shell, file: Path) -> None:
    file.write_bytes(b"\xff")
    told = shell.refusal("repositories", "lifecycle", "put", "team/app", str(file), code=2)
    assert told == f"{file} cannot be read: it is no UTF-8 text"


def test_a_preview_tells_what_a_policy_would_remove_and_removes_nothing(shell: Shell) -> None:
    for number in range(3):
        keep(shell.config, "team/app", note=str(number))
    preview = ("repositories", "lifecycle", "preview", "team/app")
    assert shell.refusal(*preview, code=1).startswith("Lifecycle policy does not exist")
    found = shell.ask(*preview, "-", given=lifecycle(1))
    assert (found["repository"], [image["priority"] for image in found["images"]]) == ("team/app", [7, 7])
    assert shell.ask("repositories", "show", "team/app")["images"] == 3

    shell.run("repositories", "lifecycle", "put", "team/app", "-", given=lifecycle(3))
    assert shell.run(*preview)[0] == "nothing would be removed\n"
    assert shell.run(*preview, "-", given=lifecycle(2))[0].count("sha256:") == 1


def test_a_lifecycle_policy_is_kept_as_it_was_given_until_it_is_deleted(shell: Shell) -> None:
    shell.run("repositories", "lifecycle", "put", "team/app", "-", given=lifecycle(1))
    assert shell.run("repositories", "lifecycle", "get", "team/app")[0] == f"{lifecycle(1)}\n"
    assert shell.ask("repositories", "lifecycle", "get", "team/app") == {
        "repository": "team/app",
        "lifecycle_policy": lifecycle(1),
        "last_evaluated_at": None,
    }
    shell.run("repositories", "lifecycle", "delete", "team/app")
    assert shell.refusal("repositories", "lifecycle", "get", "team/app", code=1).startswith("Lifecycle policy does not")
