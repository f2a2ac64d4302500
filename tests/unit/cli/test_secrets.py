"""`pullthrough secrets`: no value is an argument, and none is shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell

NAME = "ecr-pullthroughcache/hub"
TOKEN = "dckr-pat-27182818"


@pytest.fixture
def shell(make_shell: Callable[[str], Shell], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("CORP_TOKEN", TOKEN)
    return make_shell("secrets: {values: [{name: corp, username: u, access_token: {env: CORP_TOKEN}}]}\n")


def store(shell: Shell) -> bytes:
    return b"".join(path.read_bytes() for path in (shell.config.parent / "store").rglob("metadata.sqlite*"))


def test_a_token_is_read_from_standard_input_and_kept_encrypted(shell: Shell) -> None:
    put = shell.ask("secrets", "put", NAME, "--username", "puller", "--description", "of the team", given=f"{TOKEN}\n")
    arn = f"arn:aws:secretsmanager:us-east-1:000000000000:secret:{NAME}-"
    assert put.pop("arn").startswith(arn)
    assert put.pop("created_at") == put.pop("changed_at")
    assert put == {"secret": NAME, "kept_in": "store", "description": "of the team", "deleted_at": None, "hint": None}
    assert NAME.encode() in store(shell)
    assert TOKEN.encode() not in store(shell)


def test_a_secret_that_no_rule_could_use_is_kept_with_a_hint(shell: Shell) -> None:
    lines = dict(line.split("  ", 1) for line in shell.run("secrets", "put", "a", given="word")[0].splitlines())
    assert lines["hint"].strip().startswith("rules cannot use it so: the value of the secret a is not JSON")
    assert shell.ask("secrets", "put", "a", given='{"username": "u", "accessToken": "t"}')["hint"] is None


def test_putting_again_keeps_the_secret_and_its_arn(shell: Shell, tmp_path: Path) -> None:
    first = shell.ask("secrets", "put", NAME, "--username", "u", given="one")["arn"]
    file = tmp_path / "token"
    file.write_text("two\n", encoding="utf-8")
    assert shell.ask("secrets", "put", NAME, "--username", "u", "--from-file", str(file))["arn"] == first
    assert len([secret for secret in shell.ask("secrets", "list") if secret["secret"] == NAME]) == 1


def test_nothing_given_is_nothing_kept(shell: Shell) -> None:
    assert shell.refusal("secrets", "put", NAME, given="\n", code=2) == "no secret was given: nothing was changed"
    assert [secret["secret"] for secret in shell.ask("secrets", "list")] == ["corp"]


def test_the_list_tells_where_each_secret_is_kept_and_none_of_them(shell: Shell) -> None:
    shell.run("secrets", "put", NAME, "--username", "u", given=TOKEN)
    assert [(one["secret"], one["kept_in"]) for one in shell.ask("secrets", "list")] == [
        (NAME, "store"),
        ("corp", "configuration"),
    ]
    out = shell.run("secrets", "list")[0]
    assert TOKEN not in out
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [[NAME, "store"], ["corp", "configuration"]]


def test_a_deleted_secret_is_of_no_use_until_it_is_restored(shell: Shell) -> None:
    shell.run("secrets", "put", NAME, "--username", "u", given=TOKEN)
    assert shell.ask("secrets", "delete", NAME)["deleted_at"] is not None
    assert "to be deleted at 20" in shell.run("secrets", "list")[0]
    assert "marked for deletion" in shell.refusal("secrets", "put", NAME, given=TOKEN, code=1)
    assert "marked for deletion" in shell.refusal("rules", "create", "a", "a.example", "--credential-arn", NAME, code=1)
    assert shell.ask("secrets", "restore", NAME)["deleted_at"] is None
    shell.run("rules", "create", "a", "a.example", "--credential-arn", NAME)


def test_a_secret_is_deleted_for_good_by_force(shell: Shell) -> None:
    shell.run("secrets", "put", NAME, "--username", "u", given=TOKEN)
    shell.run("secrets", "delete", NAME, "--force")
    assert [secret["secret"] for secret in shell.ask("secrets", "list")] == ["corp"]
    assert shell.refusal("secrets", "delete", NAME, "--force", code=1).startswith("Secrets Manager can't find")
