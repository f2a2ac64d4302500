"""Files of identities: parsed at the start, taken over when they change, kept as they were where they are at fault."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.config.identity_files import IdentityFileError
from proxy.identity.watched import WatchedFile
from proxy.model.password_file import PASSWORD_FILE, UserEntry
from proxy.telemetry.metrics import Metrics
from tests.support.identities import put, user_line

SECRET = "hunter2"


class Bench:
    """A watched password file."""

    def __init__(self, path: Path, look_every: float = 1000) -> None:
        self.path = path
        self.metrics = Metrics()
        self.file: WatchedFile[UserEntry] = WatchedFile(
            "auth.htpasswd", path, PASSWORD_FILE, self.metrics, look_every=look_every
        )

    @property
    def names(self) -> list[str]:
        return list(self.file.entries)

    @property
    def ok(self) -> float | None:
        return self.metrics.registry.get_sample_value("pullthrough_identity_file_ok", {"setting": "auth.htpasswd"})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    put(tmp_path / "users", user_line("alice", "a"))
    return Bench(tmp_path / "users")


async def test_it_is_in_force_once_it_was_loaded_and_after_each_change(bench: Bench) -> None:
    assert bench.names == []
    await bench.file.load()
    assert (bench.names, bench.ok) == (["alice"], 1)
    put(bench.path, user_line("bob", "b"), user_line("carol", "c"))
    assert await bench.file.renew()
    assert bench.names == ["bob", "carol"]


async def test_a_file_that_stays_as_it_is_is_taken_once(bench: Bench) -> None:
    await bench.file.load()
    entries = bench.file.entries
    with capture_logs() as logs:
        assert await bench.file.renew()
    assert bench.file.entries is entries
    assert logs == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "there is no file {path}"),
        (f"# c\nalice:{SECRET}\n".encode(), "{path}:2: only bcrypt hashes are taken"),
        (b"\n\nab\xffc", "{path}:3: this line is not UTF-8 text"),
        (f"{SECRET}\n".encode(), "{path}:1: a line is a user name, a colon, and a bcrypt hash"),
        (b"#" * ((4 << 20) + 1), "{path} is longer than 4194304 bytes"),
    ],
    ids=["absent", "no hash", "no text", "no line", "too long"],
)
async def test_a_file_at_fault_keeps_the_start_from_succeeding_and_later_changes_nothing(
    bench: Bench, content: bytes | None, fault: str
) -> None:
    kept = bench.path.read_bytes()

    def spoil() -> None:
        bench.path.unlink()
        if content is not None:
            bench.path.write_bytes(content)

    await bench.file.load()
    spoil()
    with pytest.raises(IdentityFileError) as caught:
        await Bench(bench.path).file.load()
    assert str(caught.value).startswith(fault.format(path=bench.path))
    with capture_logs() as logs:
        assert not await bench.file.renew()
        assert not await bench.file.renew()
    assert [(entry["event"], entry["log_level"], entry["setting"]) for entry in logs] == [
        ("identity.file_refused", "error", "auth.htpasswd")
    ]
    assert logs[0]["fault"] == str(caught.value)
    assert SECRET not in str(logs)
    assert (bench.names, bench.ok) == (["alice"], 0)
    put(bench.path, kept.decode().strip())
    assert await bench.file.renew()
    assert bench.ok == 1


async def test_the_same_fault_after_a_good_time_is_told_again(bench: Bench) -> None:
    await bench.file.load()
    good = bench.path.read_text().strip()
    with capture_logs() as logs:
        for line in ("nonsense", good, "nonsense"):
            put(bench.path, line)
            await bench.file.renew()
    assert [entry["event"] for entry in logs] == ["identity.file_refused"] * 2


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
async def test_a_file_that_others_may_read_is_warned_of(bench: Bench, mode: int, told: bool) -> None:  # noqa: FBT001 - a column of the table
    bench.path.chmod(mode)
    with capture_logs() as logs:
        await bench.file.load()
    warned = [entry["remedy"] for entry in logs if entry["event"] == "identity.readable_by_others"]
    assert warned == ([f"chmod 600 {bench.path}"] if told else [])


async def test_a_link_to_another_folder_is_followed(tmp_path: Path) -> None:
    # As Kubernetes mounts secrets: only ..data changes, a link to a folder.
    for folder, name in (("first", "alice"), ("second", "bob")):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder / "users", user_line(name, "x"))
    data = tmp_path / "..data"
    data.symlink_to("first")
    bench = Bench(data / "users")
    await bench.file.load()
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(data)
    assert await bench.file.renew()
    assert bench.names == ["bob"]


@pytest.mark.parametrize("ask", [True, False])
async def test_changes_are_noticed_on_request_and_without(bench: Bench, ask: bool) -> None:  # noqa: FBT001 - both ways
    watched = bench if ask else Bench(bench.path, look_every=0.001)
    await watched.file.load()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watched.file.watch())
        put(bench.path, user_line("bob", "b"))
        if ask:
            watched.file.request()
        while watched.names != ["bob"]:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)
        watching.cancel()
