"""What a server takes over from files, or refuses to, is one event each, however often it looks."""

from pathlib import Path

import pytest

from proxy.app.audit import telling_of_identities, telling_of_reloads
from proxy.config.loader import load_settings
from proxy.config.reload import Reloader
from proxy.core.rules import RuleSet
from proxy.identity.watched import WatchedFile
from proxy.model.password_file import PASSWORD_FILE, UserEntry
from proxy.telemetry.audit import AuditEvent
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.notices import Notices
from tests.support.identities import put, user_line

BASE = "rules: [{prefix: a, upstream: a.example}]\n"


class Trail:
    """The `BlockingTrail` that remembers."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def write(self, event: AuditEvent) -> None:
        self.events.append(event)

    @property
    def told(self) -> list[tuple[str, str | None, str, dict[str, str | int]]]:
        return [(one.operation, one.reference, one.result, dict(one.detail)) for one in self.events]


def write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pullthrough.yaml"
    path.write_text(BASE)
    return path


@pytest.fixture
def reloader(trail: Trail, config: Path) -> Reloader:
    tell = telling_of_reloads(Notices(trail), config)
    settings = load_settings(config, {}, RuleSet.of)
    return Reloader(config, settings, lambda _: None, Metrics(), {}, RuleSet.of, tell=tell)


async def test_each_reload_that_changes_something_is_told(trail: Trail, config: Path, reloader: Reloader) -> None:
    for text in (BASE, f"log: {{level: debug}}\n{BASE}", "rules: []", "rules: []", BASE, "rules: []"):
        write(config, text)
        await reloader.reload()
    assert trail.told == [
        ("config:Reload", "log.level", "done", {}),
        ("config:Reload", "log.level, rules", "done", {}),
        ("config:Reload", "rules", "done", {}),
        ("config:Reload", "rules", "done", {}),
    ]
    assert {(one.principal, one.scheme, one.subject) for one in trail.events} == {("local:file", "local", str(config))}


async def test_a_fault_is_told_once_until_it_is_mended(trail: Trail, config: Path, reloader: Reloader) -> None:
    for text in ("rules: none", "rules: none", BASE, "rules: none", "rules: {}", BASE):
        write(config, text)
        await reloader.reload()
    assert trail.told == [("config:Reload", None, "INVALID", {"faults": 1})] * 3


async def test_what_waits_for_a_restart_is_told(trail: Trail, config: Path, reloader: Reloader) -> None:
    waiting = "uploads: {expire_after: 48h}\n"
    for text in (f"{BASE}{waiting}", f"{BASE}{waiting}", f"rules: []\n{waiting}", "rules: []"):
        write(config, text)
        await reloader.reload()
    assert trail.told == [
        ("config:Reload", None, "RESTART_NEEDED", {"restart_needed": "uploads.expire_after"}),
        ("config:Reload", "rules", "done", {"restart_needed": "uploads.expire_after"}),
    ]


async def test_files_of_identities_are_told_when_they_change(trail: Trail, tmp_path: Path) -> None:
    path, tell = tmp_path / "users", telling_of_identities(Notices(trail))
    put(path, user_line("ann", "a"))
    file: WatchedFile[UserEntry] = WatchedFile("auth.htpasswd", path, PASSWORD_FILE, Metrics(), tell=tell)
    await file.load()
    lines = user_line("ann", "a"), user_line("bob", "b")
    for content in ([lines[0]], lines, lines, ["no user"], ["no user"], lines, ["no user"]):
        put(path, *content)
        await file.renew()
    changed = ("auth:Reload", "auth.htpasswd", "done", {"entries": 1})
    refused: tuple[str, str, str, dict[str, int]] = ("auth:Reload", "auth.htpasswd", "INVALID", {})
    assert trail.told == [changed, (*changed[:3], {"entries": 2}), refused, refused]
    assert "$2b$" not in repr(trail.events)
