"""`pullthrough users`: one line of the password file is changed, whole, and no password is an argument."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest

from proxy.model.password_file import PASSWORD_FILE
from tests.support.identities import user_line
from tests.unit.cli.conftest import Shell

PASSWORD = "correct horse"
NO_AUTH = (
    "has no section `auth`, so nobody is asked who they are: write one that names the file, as in "
    "`auth: {htpasswd: users, access_keys: keys}`"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


@pytest.fixture
def shell(make_shell: Callable[[str], Shell], file: Path) -> Shell:
    return make_shell(
        f"auth: {{htpasswd: '{file}', oidc: [{{name: github, issuer: 'https://i.example', audience: a}}]}}\n"
    )


def passes(file: Path, name: str, password: str) -> bool:
    users = PASSWORD_FILE.parse(file.read_text(encoding="utf-8"))
    return name in users and bcrypt.checkpw(password.encode(), users[name].hash.encode())


def test_the_first_user_makes_the_file_for_its_owner_only(shell: Shell, file: Path) -> None:
    told = shell.refusal("check-config", code=2)
    assert told.endswith(f"auth.htpasswd: there is no file {file}: `pullthrough users set NAME` makes it")
    added = shell.ask("users", "set", "alice", given=f"{PASSWORD}\n")
    assert added == {"user": "alice", "state": "added", "file": str(file)}
    assert passes(file, "alice", PASSWORD)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert shell.run("check-config")[0].endswith("no faults; 0 rules\n")
    assert PASSWORD not in file.read_text()


def test_another_password_changes_one_line_and_keeps_the_mode(shell: Shell, file: Path) -> None:
    kept = ["# people", user_line("bob", "b"), "", "# machines"]
    file.write_text("\n".join([*kept, user_line("alice", "old"), ""]), encoding="utf-8")
    file.chmod(0o640)
    out, err = shell.run("users", "set", "alice", given=f"{PASSWORD}\nnot read\n")
    assert out == f"user   alice\nstate  changed\nfile   {file}\n"
    assert PASSWORD not in out + err
    assert file.read_text().splitlines()[:4] == kept
    assert (passes(file, "alice", PASSWORD), passes(file, "alice", "old")) == (True, False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in file.parent.glob("*users*")] == ["users"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_file_of_another_owner_stays_theirs(shell: Shell, file: Path) -> None:
    file.touch()
    os.chown(file, 12345, 23456)
    shell.run("users", "set", "alice", given=PASSWORD)
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


def test_a_link_stays_a_link(shell: Shell, file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file.symlink_to("elsewhere/users")
    shell.run("users", "set", "alice", given=PASSWORD)
    assert file.is_symlink()
    assert passes(tmp_path / "elsewhere" / "users", "alice", PASSWORD)


def test_users_are_listed_and_removed(shell: Shell, file: Path) -> None:
    assert shell.run("users", "list")[0] == "there are no users\n"
    file.write_text("\n".join([user_line("bob", "b", 5), "# c", user_line("alice", "a")]), encoding="utf-8")
    assert shell.ask("users", "list") == [{"user": "alice", "cost": 4}, {"user": "bob", "cost": 5}]
    out = shell.run("users", "list")[0]
    assert [line.split() for line in out.splitlines()[2:]] == [["alice", "4"], ["bob", "5"]]
    assert "$2b$" not in out
    assert shell.ask("users", "remove", "bob")["state"] == "removed"
    assert file.read_text().startswith("# c\nalice:")
    assert shell.refusal("users", "remove", "bob", code=1) == f"{file} has no user bob"


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("alice", "", "no password was given: nothing was changed"),
        ("alice", "\nsecond line", "no password was given: nothing was changed"),
        ("alice", "x" * 73, "bcrypt takes passwords of at most 72 bytes: nothing was changed"),
        ("alice", "a\tb", "a password has no control characters: nothing was changed"),
        ("al:ice", "x", "a name is up to 128 printable ASCII characters without white space, `:` and `*`"),
        ("anonymous", "x", "'anonymous' cannot be a name"),
        ("github", "x", "github is the name of an identity provider: choose another one"),
    ],
)
def test_what_could_not_be_used_is_refused_and_nothing_changes(
    shell: Shell, file: Path, name: str, given: str, problem: str
) -> None:
    assert shell.refusal("users", "set", name, given=given, code=2).startswith(problem)
    assert not file.exists()


@pytest.mark.parametrize("command", [("set", "alice"), ("remove", "alice"), ("list",)])
def test_a_file_at_fault_is_told_and_left_as_it_is(shell: Shell, file: Path, command: tuple[str, ...]) -> None:
    file.write_text("# c\nbob:hunter2\n", encoding="utf-8")
    told = shell.refusal("users", *command, given=PASSWORD, code=2)
    assert told.startswith(f"{file}:2: only bcrypt hashes are taken")
    assert file.read_text() == "# c\nbob:hunter2\n"


def test_a_folder_that_is_not_there_is_told(shell: Shell, file: Path) -> None:
    shell.config.write_text(f"auth: {{htpasswd: '{file}/users'}}", encoding="utf-8")
    told = shell.refusal("users", "set", "alice", given=PASSWORD, code=1)
    assert told == f"{file}/users cannot be changed, and is as it was: No such file or directory"


def test_a_file_that_cannot_be_looked_for_is_told(make_shell: Callable[[str], Shell], tmp_path: Path) -> None:
    name = tmp_path / ("x" * 300)  # as a folder that this user may not enter, which stops no root
    told = make_shell(f"auth: {{htpasswd: '{name}'}}").refusal("users", "list", code=2)
    assert told == f"{name} cannot be read: File name too long"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", NO_AUTH),
        ("auth: none", NO_AUTH),
        ("auth: {access_keys: k}", "auth.htpasswd is not set: name a file there, which need not be there yet"),
    ],
)
def test_without_a_file_in_the_configuration_there_are_no_users(
    make_shell: Callable[[str], Shell], more: str, told: str
) -> None:
    assert make_shell(more).refusal("users", "set", "alice", given=PASSWORD, code=2).endswith(told)
