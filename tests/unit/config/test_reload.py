"""A running server takes over what it can, refuses what needs a restart, and survives a broken file."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from proxy.config.auth import AuthSettings
from proxy.config.loader import load_settings
from proxy.config.reload import Reloader, changed_keys, merge_live
from proxy.config.settings import LogSettings, Settings
from proxy.core.rules import RuleSet
from proxy.telemetry.metrics import Metrics

BASE = "server: {port: 0}\nrules: [{prefix: a, upstream: a.example}]\n"


class Server:
    """A server's part: what was applied, and the reloader of its file."""

    def __init__(self, path: Path, text: str = BASE) -> None:
        self.path = path
        self.applied: list[Settings] = []
        self.metrics = Metrics()
        self.happened = asyncio.Event()
        path.parent.mkdir(exist_ok=True)
        self.write(text)
        self.follow(path)

    def follow(self, path: Path) -> None:
        """Begin anew, with the file as that path leads to it."""
        settings = load_settings(path, {})
        self.reloader = Reloader(path, settings, self._apply, self.metrics, {}, RuleSet.of)
        self.reloader.look_every = 0.01

    def write(self, text: str) -> None:
        # As editors do: a new file in place of the old one.
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.path)

    def _apply(self, settings: Settings) -> None:
        self.applied.append(settings)
        self.happened.set()

    async def until(self, prefixes: list[str]) -> None:
        """Return once these rules are in force."""
        while self.prefixes != prefixes:
            await asyncio.wait_for(self.happened.wait(), 30)
            self.happened.clear()

    @property
    def ok(self) -> float | None:
        return self.metrics.registry.get_sample_value("pullthrough_config_last_reload_ok")

    @property
    def prefixes(self) -> list[str]:
        return [rule.prefix for rule in self.reloader.current.rules]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "pullthrough.yaml")


def asking(path: Path, more: str = "") -> str:
    """Return a configuration with users in a file beside it, and more keys of `auth`."""
    return f"{BASE}auth: {{htpasswd: '{path.parent}/users'{more}}}\n"


@pytest.fixture
def guarded(tmp_path: Path) -> Server:
    (tmp_path / "users").touch()
    return Server(tmp_path / "guarded.yaml", asking(tmp_path / "guarded.yaml"))


@pytest.fixture
def linked(tmp_path: Path) -> Server:
    """As Kubernetes mounts a ConfigMap: NAME leads to ..data/NAME, and only the link ..data is exchanged."""
    server = Server(tmp_path / "1" / "c.yaml")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "c.yaml").symlink_to("..data/c.yaml")
    server.follow(tmp_path / "c.yaml")
    return server


@pytest.fixture
def mirrored(tmp_path: Path) -> Server:
    return Server(tmp_path / "mirrored.yaml", f"{BASE}mirrors: [{{port: 0, rule: a}}]")


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as events:
        yield events


async def test_rules_and_the_log_level_are_taken_over_in_place(server: Server, logs: list[EventDict]) -> None:
    server.write("server: {port: 0}\nlog: {level: debug}\nrules: [{prefix: b, upstream: b.example}]\n")
    assert await server.reloader.reload()
    assert server.applied == [server.reloader.current]
    assert server.prefixes == ["b"]
    assert server.reloader.current.log.level == "debug"
    assert server.ok == 1
    assert [(event["event"], event["changed"]) for event in logs] == [("config.reloaded", ["log.level", "rules"])]


async def test_hosted_names_are_taken_over(server: Server) -> None:
    server.write(f"{BASE}registry: {{hosted: ['team/**']}}\n")
    assert await server.reloader.reload()
    assert server.reloader.current.registry.hosted == ("team/**",)


async def test_policies_change_in_place(guarded: Server, logs: list[EventDict]) -> None:
    policies = "policies: [{principals: [bob], actions: [pull, push], repositories: [team/**]}]"
    for more, granted in ((f", {policies}", [("bob",)]), (", policies: []", []), ("", [("*",)])):
        guarded.write(asking(guarded.path, more))
        assert await guarded.reloader.reload()
        auth = guarded.reloader.current.auth
        assert isinstance(auth, AuthSettings)
        assert [grant.principals for grant in auth.grants] == granted
    assert [event["changed"] for event in logs] == [["auth.policies"]] * 3
    assert len(guarded.applied) == 3


async def test_how_clients_are_known_does_not_change_in_place(guarded: Server, logs: list[EventDict]) -> None:
    before = guarded.reloader.current
    guarded.write(asking(guarded.path, ", failed_attempts: 3, policies: []"))
    assert not await guarded.reloader.reload()
    auth = guarded.reloader.current.auth
    assert isinstance(auth, AuthSettings)
    assert (auth.failed_attempts, auth.policies) == (10, ())
    assert [event.get("keys") for event in logs] == [None, ["auth.failed_attempts"]]
    logs.clear()
    for text in (BASE, f"{BASE}auth: none\n"):
        guarded.write(text)
        assert not await guarded.reloader.reload()
        assert guarded.reloader.current.auth == auth != before.auth
        assert guarded.ok == 0
    assert [(event["event"], event["keys"]) for event in logs] == [("config.restart_needed", ["auth"])] * 2


async def test_asking_who_clients_are_begins_with_a_restart(
    server: Server, guarded: Server, logs: list[EventDict]
) -> None:
    server.write(asking(guarded.path, ", policies: []"))
    assert not await server.reloader.reload()
    assert server.reloader.current.auth is None
    assert [(event["event"], event["keys"]) for event in logs] == [("config.restart_needed", ["auth"])]


async def test_policies_at_fault_leave_those_in_force(guarded: Server, logs: list[EventDict]) -> None:
    for more in (", policies: [{principals: [bob], actions: [pul]}]", ", policies: "):
        guarded.write(asking(guarded.path, more))
        assert not await guarded.reloader.reload()
    assert guarded.applied == []
    assert [event["event"] for event in logs] == ["config.fault", "config.reload_failed"] * 2


async def test_a_file_that_says_the_same_changes_nothing(server: Server, logs: list[EventDict]) -> None:
    server.write(f"# a comment\n{BASE}")
    assert await server.reloader.reload()
    assert server.applied == []
    assert logs == []


async def test_what_needs_a_restart_is_refused_by_name_and_the_rest_is_taken_over(
    server: Server, logs: list[EventDict]
) -> None:
    server.write(
        "server: {port: 1, hosts: [x]}\nstorage: {path: elsewhere}\nregistry: {compatibility: ecr, region: eu-1}\n"
        "upstreams: {budget: 1s}\nlog: {format: json}\nmirrors: [{port: 2, rule: b}]\n"
        "rules: [{prefix: b, upstream: b.example}]\n"
    )
    before = server.reloader.current
    assert not await server.reloader.reload()
    assert server.prefixes == ["b"]
    assert list(changed_keys(before, server.reloader.current)) == ["rules"]
    assert server.ok == 0
    refused = next(event for event in logs if event["event"] == "config.restart_needed")
    assert refused["keys"] == [
        "server.port",
        "server.hosts",
        "mirrors",
        "storage.path",
        "registry.region",
        "registry.compatibility",
        "upstreams.budget",
        "log.format",
    ]
    server.write("server: {port: 0}\nrules: [{prefix: b, upstream: b.example}]\n")
    assert await server.reloader.reload()
    assert server.ok == 1


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{prefix: a",
        "rules: [{prefix: A, upstream: x}]",
        "rules: [{prefix: a, upstream: x.example}, {prefix: b, upstream: x.example}]",
        "server: {host: 0.0.0.0}",
    ],
)
async def test_an_invalid_file_keeps_the_old_one_and_logs_each_fault(
    server: Server, logs: list[EventDict], text: str
) -> None:
    before = server.reloader.current
    server.write(text)
    assert not await server.reloader.reload()
    assert server.reloader.current is before
    assert server.applied == []
    assert server.ok == 0
    assert [event["event"] for event in logs] == ["config.fault", "config.reload_failed"]
    assert logs[0]["fault"].startswith(str(server.path))
    server.write(BASE)
    assert await server.reloader.reload()
    assert server.ok == 1


async def test_a_file_that_vanished_keeps_the_old_one(server: Server) -> None:
    server.path.unlink()
    assert not await server.reloader.reload()
    assert (server.prefixes, server.ok) == (["a"], 0)


async def test_a_rule_that_a_running_mirror_needs_cannot_go_without_a_restart(
    mirrored: Server, logs: list[EventDict]
) -> None:
    mirrored.write("server: {port: 0}\nrules: [{prefix: b, upstream: b.example}]")
    assert not await mirrored.reloader.reload()
    assert mirrored.prefixes == ["a"]
    assert logs[0]["fault"].endswith(
        "there is no rule with the prefix 'a'; there are: b (after a restart it would fit)"
    )


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(server.reloader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def naming(prefix: str) -> str:
    """Return a configuration with one rule."""
    return f"server: {{port: 0}}\nrules: [{{prefix: {prefix}, upstream: x.example}}]\n"


async def test_what_is_saved_while_it_runs_is_taken_over_with_and_without_a_request(server: Server) -> None:
    async with running(server):
        for prefix, ask in (("b", False), ("c", True), ("d", False)):
            server.write(naming(prefix))
            if ask:
                server.reloader.request()
            await server.until([prefix])


async def test_a_file_that_is_written_in_place_again_and_again_is_taken_over_as_it_is_left(server: Server) -> None:
    async with running(server):
        for prefix in "bcde":
            # Of one length and at once, as far as the clock of files can tell.
            server.path.write_text(naming(prefix), encoding="utf-8")
            await server.reloader.reload()
        await server.until(["e"])
        server.path.write_text(naming("f"), encoding="utf-8")
        await server.until(["f"])


async def test_a_file_behind_a_link_is_taken_over_when_the_link_is_exchanged(linked: Server, tmp_path: Path) -> None:
    async with running(linked):
        (tmp_path / "2").mkdir()
        (tmp_path / "2" / "c.yaml").write_text(naming("b"), encoding="utf-8")
        (tmp_path / "..fresh").symlink_to("2")
        (tmp_path / "..fresh").replace(tmp_path / "..data")
        await linked.until(["b"])


async def test_a_file_that_comes_back_is_taken_over(server: Server, logs: list[EventDict]) -> None:
    server.path.unlink()
    async with running(server):
        await server.reloader.reload()
        server.write(naming("b"))
        await server.until(["b"])
    assert "config.reload_failed" in [event["event"] for event in logs]


async def test_what_else_changes_in_the_folder_reloads_nothing(server: Server, logs: list[EventDict]) -> None:
    async with running(server):
        for line in range(100):
            (server.path.parent / "log").write_text(f"{line}", encoding="utf-8")
            await asyncio.sleep(0)
        server.write(naming("b"))
        await server.until(["b"])
    assert [event["event"] for event in logs] == ["config.reloaded"]


async def test_a_pipe_which_can_be_read_only_once_is_not_read_again(server: Server, logs: list[EventDict]) -> None:
    # As `serve --config <(make-configuration)` gives it: now it is empty, and would be a configuration without rules.
    read, write = os.pipe()
    os.write(write, BASE.encode())
    os.close(write)
    await asyncio.to_thread(server.follow, Path(f"/dev/fd/{read}"))
    await server.reloader.watch()
    assert (server.prefixes, logs) == (["a"], [])
    assert not await server.reloader.reload()
    assert server.prefixes == ["a"]
    assert "is a pipe" in logs[0]["fault"]
    os.close(read)


def test_merging_takes_nothing_but_the_live_keys() -> None:
    running = Settings()
    wanted = Settings(log=LogSettings(level="debug", format="json"))
    assert merge_live(running, wanted).log == LogSettings(level="debug", format="auto")
