"""The audit trail: what an event looks like, and what becomes of the files."""

import asyncio
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import structlog

from proxy.telemetry.audit import AuditEvent, AuditFile, AuditKind, NoAudit
from proxy.telemetry.metrics import Metrics
from tests.support.limits import largest_file

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)

PUSHED = AuditEvent(
    AuditKind.CHANGE,
    "ecr:PutImage",
    principal="alice",
    scheme="password",
    address="192.0.2.7",
    subject="team/app",
    reference="v1",
    status=201,
    request_id="r-1",
)

WRITER = """
import asyncio, sys
from pathlib import Path
from proxy.telemetry.audit import AuditEvent, AuditFile, AuditKind
from proxy.telemetry.metrics import Metrics

async def main() -> None:
    trail = AuditFile(Path(sys.argv[1]), Metrics(), max_size=4096, keep=100)
    for number in range(200):
        await trail.record(AuditEvent(AuditKind.CHANGE, "ecr:PutImage", principal=sys.argv[2], reference=str(number)))

asyncio.run(main())
"""


def trail(path: Path, *, max_size: int = 1 << 20, keep: int = 3, metrics: Metrics | None = None) -> AuditFile:
    return AuditFile(path, metrics or Metrics(), max_size=max_size, keep=keep)


def events(*paths: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.endswith(".lock")]


def test_an_event_is_one_json_line_without_what_is_unknown() -> None:
    line = PUSHED.line(NOON.astimezone(timezone(timedelta(hours=2))))
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "time": "2026-11-21T12:00:00.123Z",
        "event": "change",
        "operation": "ecr:PutImage",
        "principal": "alice",
        "scheme": "password",
        "address": "192.0.2.7",
        "subject": "team/app",
        "reference": "v1",
        "result": "done",
        "status": 201,
        "request_id": "r-1",
    }


def test_nobody_is_called_anonymous() -> None:
    assert json.loads(AuditEvent(AuditKind.REFUSAL, "ecr:PutImage").line(NOON))["principal"] == "anonymous"


def test_names_cannot_forge_lines_and_are_cut() -> None:
    line = AuditEvent(AuditKind.CHANGE, "x", subject='a\n{"event":"change"}' + "b" * 9000).line(NOON)
    assert line.count(b"\n") == 1
    assert len(line) < 1000


def test_what_looks_like_a_secret_is_masked() -> None:
    line = AuditEvent(AuditKind.CHANGE, "x", subject="https://user:hunter2@registry.test/").line(NOON)
    assert b"hunter2" not in line


async def test_events_are_there_once_recorded(tmp_path: Path) -> None:
    path, metrics = tmp_path / "made" / "audit.jsonl", Metrics()
    kept = trail(path, metrics=metrics)
    await kept.record(PUSHED)
    await kept.record(AuditEvent(AuditKind.REFUSAL, "ecr:PutImage", result="DENIED", status=403))
    assert [event["result"] for event in events(path)] == ["done", "DENIED"]
    assert path.stat().st_mode & 0o777 == 0o600
    text = metrics.render().decode()
    assert 'pullthrough_audit_events_total{event="change"} 1.0' in text
    assert 'pullthrough_audit_events_total{event="refusal"} 1.0' in text


async def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    kept = trail(path, max_size=len(PUSHED.line(NOON)) * 2, keep=2)
    for number in range(9):
        await kept.record(AuditEvent(AuditKind.CHANGE, "ecr:PutImage", principal="alice", subject=f"team/app{number}"))
    assert sorted(file.name for file in files(tmp_path)) == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    found = events(tmp_path / "audit.jsonl.2", tmp_path / "audit.jsonl.1", path)
    assert [event["subject"] for event in found][-1] == "team/app8"
    assert [event["subject"] for event in found] == sorted(str(event["subject"]) for event in found)


async def test_an_event_larger_than_a_file_is_kept_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await trail(path, max_size=10).record(PUSHED)
    assert len(events(path)) == 1


async def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    kept = trail(path)
    await kept.record(PUSHED)
    path.rename(tmp_path / "away")
    await kept.record(PUSHED)
    assert len(events(path)) == len(events(tmp_path / "away")) == 1


async def test_a_failure_is_told_to_log_and_metrics_and_to_no_caller(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        await trail(tmp_path / "file" / "audit.jsonl", metrics=metrics).record(PUSHED)
    assert [log["event"] for log in logs] == ["audit.not_written"]
    assert "pullthrough_audit_failures_total 1.0" in metrics.render().decode()


async def test_a_line_that_a_full_disk_cuts_off_spoils_none_that_follow(tmp_path: Path) -> None:
    path, metrics = tmp_path / "audit.jsonl", Metrics()
    kept = trail(path, metrics=metrics)
    await kept.record(PUSHED)
    with largest_file(path.stat().st_size + 20):
        await kept.record(PUSHED)
    await kept.record(PUSHED)
    assert len(events(path)) == 2
    assert "pullthrough_audit_failures_total 1.0" in metrics.render().decode()


async def test_closing_is_not_the_end(tmp_path: Path) -> None:
    kept = trail(tmp_path / "audit.jsonl")
    await kept.record(PUSHED)
    kept.close()
    await kept.record(PUSHED)
    kept.close()
    assert len(events(tmp_path / "audit.jsonl")) == 2


def test_processes_that_write_and_rotate_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b", "c")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = events(*files(tmp_path))
    assert sorted((str(one["principal"]), int(str(one["reference"]))) for one in found) == [
        (name, number) for name in ("a", "b", "c") for number in range(200)
    ]
    assert (tmp_path / "audit.jsonl.1").exists()


KILLED = """
import asyncio, sys
from pathlib import Path
from proxy.telemetry.audit import AuditEvent, AuditFile, AuditKind
from proxy.telemetry.metrics import Metrics

async def main() -> None:
    trail, number = AuditFile(Path(sys.argv[1]), Metrics(), max_size=1 << 15, keep=1000), 0
    while True:
        # Of any length, so that files are put aside at any place.
        name = "x" * (number * 37 % 600)
        event = AuditEvent(AuditKind.CHANGE, "x", principal=sys.argv[2], subject=name, reference=str(number))
        await trail.record(event)
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 1

asyncio.run(main())
"""


def test_what_was_recorded_stays_whole_though_its_writers_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    acknowledged: dict[str, int] = {}
    for round_ in range(2):
        names = [f"{round_}.{number}" for number in range(3)]
        command = [sys.executable, "-c", KILLED, str(path)]
        writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in names]
        for name, writer in zip(names, writers, strict=True):
            assert writer.stdout is not None
            for _ in range(60):
                acknowledged[name] = int(writer.stdout.readline())
            writer.kill()
            # What stands in the pipe was acknowledged before it was killed.
            rest = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
            acknowledged[name] = int(rest[-1]) if rest else acknowledged[name]
            writer.communicate()
    found: dict[str, list[int]] = {}
    for event in events(*files(tmp_path)):  # each line of each file is a whole event
        found.setdefault(str(event["principal"]), []).append(int(str(event["reference"])))
    for name, last in acknowledged.items():
        numbers = sorted(found[name])
        # One may have been written and not yet acknowledged; none is there twice.
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in {last + 1, last + 2}


async def test_who_is_cancelled_before_a_thread_is_free_has_told(tmp_path: Path) -> None:
    path, free = tmp_path / "audit.jsonl", threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as threads:
        loop.set_default_executor(threads)
        async with asyncio.TaskGroup() as group:
            # The one thread is taken, or another waits for it already.
            holding = [loop.run_in_executor(None, free.wait, 30) for _ in range(2)]
            recording = group.create_task(trail(path).record(PUSHED))
            await asyncio.sleep(0)
            recording.cancel()
            with pytest.raises(asyncio.CancelledError):
                await recording
            free.set()
            await asyncio.gather(*holding)
        await loop.run_in_executor(None, lambda: None)
        assert len(events(path)) == 1


async def test_without_a_trail_nothing_is_written() -> None:
    kept = NoAudit()
    await kept.record(PUSHED)
    kept.close()
