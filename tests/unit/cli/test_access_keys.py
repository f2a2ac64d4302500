"""`pullthrough access-keys`: a secret is shown once, when it is made."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.model.access_keys import KEY_FILE
from tests.unit.cli.conftest import Shell


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def shell(make_shell: Callable[[str], Shell], file: Path) -> Shell:
    return make_shell(f"auth: {{access_keys: '{file}'}}\n")


def test_a_key_is_made_and_its_secret_shown_once(shell: Shell, file: Path) -> None:
    made = shell.ask("access-keys", "create", "ci")
    assert (made["principal"], made["region"], made["endpoint_url"]) == ("ci", "us-east-1", "http://127.0.0.1:5000")
    key = KEY_FILE.parse(file.read_text())[made["access_key_id"]]
    assert (key.secret, key.principal) == (made["secret_access_key"], "ci")
    assert len(key.secret) == 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = shell.run("access-keys", "list")[0] + str(shell.ask("access-keys", "list"))
    assert key.id in listed
    assert key.secret not in listed
    assert shell.run("check-config")[0].endswith("no faults; 0 rules\n")


def test_people_are_told_how_to_use_it(shell: Shell, file: Path) -> None:
    with shell.config.open("a", encoding="utf-8") as config:
        config.write("server: {public_url: 'https://registry.example/'}\nregistry: {region: eu-west-1}\n")
    out = shell.run("access-keys", "create", "ci")[0]
    (key,) = KEY_FILE.parse(file.read_text()).values()
    for line in (
        f"export AWS_ACCESS_KEY_ID={key.id}",
        f"export AWS_SECRET_ACCESS_KEY={key.secret}",
        "export AWS_DEFAULT_REGION=eu-west-1",
        "aws ecr describe-repositories --endpoint-url https://registry.example",
        "| docker login -u AWS --password-stdin registry.example",
    ):
        assert f"{line}\n" in out


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://localhost:5000"), ("::1", "http://[::1]:5000"), ("::", "http://localhost:5000")],
)
def test_the_address_is_one_that_a_client_can_use(shell: Shell, host: str, url: str) -> None:
    with shell.config.open("a", encoding="utf-8") as config:
        config.write(f"server: {{host: '{host}'}}\n")
    assert shell.ask("access-keys", "create", "ci")["endpoint_url"] == url


def test_keys_are_exchanged_one_beside_the_other(shell: Shell, file: Path) -> None:
    file.write_text("# of the team\nPTAAAAAAAAAAAAAAAAAA old-secret-of-the-team ci\n", encoding="utf-8")
    fresh = shell.ask("access-keys", "create", "ci")["access_key_id"]
    ids = [key["access_key_id"] for key in shell.ask("access-keys", "list")]
    assert sorted(ids) == sorted(["PTAAAAAAAAAAAAAAAAAA", fresh])
    assert shell.ask("access-keys", "remove", "PTAAAAAAAAAAAAAAAAAA")["state"] == "removed"
    assert file.read_text().startswith(f"# of the team\n{fresh} ")
    told = shell.refusal("access-keys", "remove", "PTAAAAAAAAAAAAAAAAAA", code=1)
    assert told == f"{file} has no access key PTAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize("principal", ["cert:x", "a b", "AWS", ""])
def test_a_principal_that_nobody_could_be_is_refused(shell: Shell, file: Path, principal: str) -> None:
    assert "name" in shell.refusal("access-keys", "create", principal, code=2)
    assert not file.exists()
    assert shell.run("access-keys", "list")[0] == "there are no access keys\n"


def test_a_file_at_fault_is_told_without_its_secrets(shell: Shell, file: Path) -> None:
    file.write_text("PTAAAAAAAAAAAAAAAAAA hush-hush-hush-hush-hush\n", encoding="utf-8")
    told = shell.refusal("access-keys", "create", "ci", code=2)
    assert told == f"{file}:1: a line is an id, a secret and a principal, with spaces between them"
