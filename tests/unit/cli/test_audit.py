"""Every command that changes something leaves one event, and what changes nothing leaves none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from proxy.app.core import Core
from proxy.cli.audit import Change
from proxy.cli.store import run_on_store
from proxy.config.loader import load_settings
from proxy.core.ports import StorageFullError
from proxy.core.rules import RuleSet
from tests.unit.cli.conftest import Shell
from tests.unit.cli.kept import keep

LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "expire"},
        }
    ]
}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}],
}


class Audited:
    """A shell, and what the audit trail is told of each of its commands."""

    def __init__(self, shell: Shell, trail: Path) -> None:
        self.shell = shell
        self.trail = trail

    @property
    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.trail.read_text().splitlines()] if self.trail.exists() else []

    def told(self, *arguments: str, code: int = 0, given: str = "") -> list[tuple[str, str, str | None, str]]:
        """Return the events of one command."""
        before = len(self.lines)
        self.shell.run(*arguments, code=code, given=given)
        found = self.lines[before:]
        assert all(event["principal"].startswith("local:") and event["scheme"] == "local" for event in found)
        return [(one["operation"], one["subject"], one.get("reference"), one["result"]) for one in found]


@pytest.fixture
def audited(make_shell: Callable[[str], Shell], tmp_path: Path) -> Audited:
    trail, users, keys = tmp_path / "audit.jsonl", tmp_path / "users", tmp_path / "keys"
    for file in (users, keys):
        file.touch(0o600)
    rules = "rules: [{prefix: hub, upstream: docker.io}]"
    more = f"audit: {{path: '{trail}'}}\nauth: {{htpasswd: '{users}', access_keys: '{keys}'}}\n{rules}\n"
    return Audited(make_shell(more), trail)


def test_repositories_and_what_they_hold(audited: Audited, tmp_path: Path) -> None:
    lifecycle, policy = tmp_path / "lifecycle.json", tmp_path / "policy.json"
    lifecycle.write_text(json.dumps(LIFECYCLE))
    policy.write_text(json.dumps(POLICY))
    app = "team/app"
    repositories = ("repositories",)
    assert audited.told(*repositories, "create", app) == [("cli:repositories.create", app, None, "done")]
    assert audited.told(*repositories, "create", app, code=1) == []
    assert audited.told(*repositories, "set-tag-mutability", app, "immutable") == [
        ("cli:repositories.set-tag-mutability", app, "immutable", "done")
    ]
    assert [told[1:] for told in audited.told(*repositories, "policy", "put", app, str(policy))] == [
        (app, None, "done")
    ]
    assert audited.told(*repositories, "policy", "get", app) == []
    assert len(audited.told(*repositories, "policy", "delete", app)) == 1
    assert audited.told(*repositories, "policy", "delete", app, code=1) == []
    assert len(audited.told(*repositories, "lifecycle", "put", app, str(lifecycle))) == 1
    assert len(audited.told(*repositories, "lifecycle", "delete", app)) == 1
    keep(audited.shell.config, app, "v1", "v2")
    assert audited.told(*repositories, "delete-image", f"{app}:v1") == [("cli:images.delete", app, "v1", "done")]
    assert audited.told(*repositories, "delete-image", f"{app}:v1", code=1) == []
    assert audited.told("purge", f"{app}:v2", code=1) == []  # it is no cache
    assert audited.told(*repositories, "delete", app, "--force") == [("cli:repositories.delete", app, None, "done")]
    assert audited.told(*repositories, "delete", app, code=1) == []


def test_what_changed_nothing_after_all_leaves_none(audited: Audited) -> None:
    assert audited.told("purge", "hub/nginx:1", code=1) == []  # nothing is kept of it

    async def work(core: Core) -> bool:
        return core.rules.current.rule("hub") is None

    settings = load_settings(audited.shell.config, {}, RuleSet.of)
    for changed in (lambda done: done, lambda done: not done):
        run_on_store(settings, work, Change("purge", "hub/nginx"), changed)
    assert [line["operation"] for line in audited.lines] == ["cli:purge"]


def test_rules_templates_and_secrets(audited: Audited) -> None:
    assert audited.told("rules", "create", "quay", "quay.io") == [("cli:rules.create", "quay", None, "done")]
    assert audited.told("rules", "create", "quay", "quay.io", code=1) == []
    assert audited.told("rules", "delete", "quay") == [("cli:rules.delete", "quay", None, "done")]
    assert audited.told("rules", "delete", "quay", code=1) == []
    assert audited.told("templates", "create", "team", "--applied-for", "create-on-push") == [
        ("cli:templates.create", "team", None, "done")
    ]
    assert audited.told("templates", "delete", "team") == [("cli:templates.delete", "team", None, "done")]
    name = "ecr-pullthroughcache/hub"
    assert audited.told("secrets", "put", name, "--username", "puller", given="hunter2\n") == [
        ("cli:secrets.put", name, None, "done")
    ]
    assert audited.told("secrets", "delete", name) == [("cli:secrets.delete", name, None, "done")]
    assert audited.told("secrets", "restore", name) == [("cli:secrets.restore", name, None, "done")]
    assert "hunter2" not in audited.trail.read_text()


def test_users_and_access_keys(audited: Audited) -> None:
    assert audited.told("users", "set", "ann", given="long enough a password\n") == [
        ("cli:users.set", "ann", None, "done")
    ]
    assert audited.told("users", "remove", "ann") == [("cli:users.remove", "ann", None, "done")]
    assert audited.told("users", "remove", "ann", code=1) == []
    [(operation, owner, key, result)] = audited.told("access-keys", "create", "ci")
    assert (operation, owner, result) == ("cli:access-keys.create", "ci", "done")
    assert key is not None
    assert audited.told("access-keys", "remove", key) == [("cli:access-keys.remove", key, None, "done")]


def test_what_only_looks_leaves_none(audited: Audited) -> None:
    for command in ("rules", "repositories", "templates", "secrets", "users", "access-keys"):
        assert audited.told(command, "list") == []
    assert audited.told("resolve", "hub/nginx") == []


@pytest.mark.parametrize(
    ("failure", "raised", "told"),
    [
        (StorageFullError("no room"), typer.Exit, ["unknown: it broke off"]),
        (LookupError("a fault"), LookupError, ["unknown: it broke off"]),
        (typer.Exit(1), typer.Exit, []),
    ],
)
def test_what_breaks_off_halfway_is_told(
    audited: Audited, failure: Exception, raised: type[Exception], told: list[str]
) -> None:
    async def work(core: Core) -> None:
        del core
        raise failure

    settings = load_settings(audited.shell.config, {}, RuleSet.of)
    with pytest.raises(raised):
        run_on_store(settings, work, Change("purge", "team/app"))
    assert [line["result"] for line in audited.lines] == told
