"""What every worker notices is told once: by any of them, whichever are killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from proxy.telemetry.audit import AuditEvent, AuditFile, AuditKind, NoAudit
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.notices import Notices

WORKER = """
import asyncio, sys
from pathlib import Path
from proxy.telemetry.audit import AuditEvent, AuditFile, AuditKind
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.notices import Notices

async def main() -> None:
    folder = Path(sys.argv[1])
    trail = AuditFile(folder / "audit.jsonl", Metrics(), max_size=1 << 20, keep=3)
    notices = Notices(trail, folder)
    print("ready", flush=True)
    for state in sys.stdin:
        event = AuditEvent(AuditKind.CHANGE, "config:Reload", subject=state.strip())
        await notices.tell("topic", state.encode(), event)
        print(state, end="", flush=True)

asyncio.run(main())
"""


class Trail:
    """The `BlockingTrail` that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def write(self, event: AuditEvent) -> None:
        self.events.append(str(event.subject))


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


def event(subject: str) -> AuditEvent:
    return AuditEvent(AuditKind.CHANGE, "config:Reload", subject=subject)


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture(params=["alone", "among workers"])
def workers(request: pytest.FixtureRequest, trail: Trail, tmp_path: Path) -> list[Notices]:
    """All workers of a server."""
    if request.param == "alone":
        return [Notices(trail)]
    return [Notices(trail, tmp_path) for _ in range(3)]


async def test_each_change_is_told_once(trail: Trail, workers: list[Notices]) -> None:
    for state in ("a", "b", "a", "a", "b"):
        await asyncio.gather(*(worker.tell("t", state.encode(), event(state)) for worker in workers))
    assert trail.events == ["a", "b", "a", "b"]


async def test_topics_are_apart(trail: Trail, workers: list[Notices]) -> None:
    for worker in workers:
        await worker.tell("t", b"a", event("t a"))
        await worker.tell("u", b"a", event("u a"))
    assert trail.events == ["t a", "u a"]


async def test_a_beginning_is_no_change(trail: Trail, workers: list[Notices]) -> None:
    for worker in workers:
        await worker.keep("t", b"a", event("a"))
    assert trail.events == []
    for worker in workers:
        await worker.tell("t", b"b", event("b"))
    assert trail.events == ["b"]


async def test_who_begins_tells_of_what_those_before_did_not_live_to_tell(trail: Trail, tmp_path: Path) -> None:
    await Notices(trail, tmp_path).keep("t", b"a", event("a"))
    # The file changed, and every worker was killed before it had told; three begin in their place.
    for _ in range(3):
        await Notices(trail, tmp_path).keep("t", b"b", event("b"))
    assert trail.events == ["b"]


async def test_the_same_fault_is_told_again_once_it_was_mended(trail: Trail, workers: list[Notices]) -> None:
    for _ in range(2):
        for worker in workers:
            await worker.tell("t", b"fault", event("fault"))
        for worker in workers:
            await worker.keep("t", b"a")
    assert trail.events == ["fault", "fault"]


async def test_nothing_of_a_state_is_kept(trail: Trail, tmp_path: Path) -> None:
    await Notices(trail, tmp_path).tell("t", b"hunter2", event("a"))
    assert not any(b"hunter2" in content for content in contents(tmp_path))


async def test_what_was_cut_short_is_told_again(trail: Trail, tmp_path: Path) -> None:
    (tmp_path / "noticed.json").write_text('{"t": "4')
    await Notices(trail, tmp_path).tell("t", b"a", event("a"))
    assert trail.events == ["a"]


async def test_without_the_folder_each_worker_tells(trail: Trail, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await Notices(trail, tmp_path / "gone").tell("t", b"a", event("a"))
    assert trail.events == ["a", "a"]
    assert [entry["event"] for entry in logs] == ["audit.not_shared"] * 2


async def test_without_a_trail_nothing_is_noted(tmp_path: Path) -> None:
    await Notices(NoAudit(), tmp_path).tell("t", b"a", event("a"))
    assert contents(tmp_path) == []


async def test_a_teller_that_is_cancelled_has_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    notices = Notices(AuditFile(path, Metrics(), max_size=1 << 20, keep=3), tmp_path)
    async with asyncio.TaskGroup() as group:
        telling = group.create_task(notices.tell("t", b"a", event("a")))
        await asyncio.sleep(0)
        telling.cancel()
    assert telling.cancelled()
    await notices.tell("t", b"a", event("a"))
    assert [json.loads(line)["subject"] for line in path.read_text().splitlines()] == ["a"]


def test_processes_that_notice_at_once_tell_once_though_one_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    states = [f"state {number}\n" for number in range(60)]
    for number, state in enumerate(states):
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(state)
        if number == len(states) // 2:
            os.kill(workers[-1].pid, signal.SIGKILL)
            workers.pop().communicate()
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == state
    for worker in workers:
        worker.communicate()
    told = [json.loads(line)["subject"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(told)) == [state.strip() for state in states]
    # Killed between the event and the note of it, it may have told of one that another told, too.
    assert len(told) <= len(states) + 1
