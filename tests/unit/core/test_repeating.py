"""What is done again and again goes on, whatever fails."""

import asyncio

from structlog.testing import capture_logs

from proxy.core.repeating import repeat
from tests.support.background import started


class Work:
    """Fails where `script` says so; `done` is set at its end."""

    def __init__(self, script: str) -> None:
        self.left = list(script)
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        step = self.left.pop(0) if self.left else "."
        if not self.left:
            self.done.set()
        if step == "x":
            raise OSError("the disk is away")


async def events_of(script: str) -> list[str]:
    work = Work(script)
    with capture_logs() as logs:
        running = started(repeat(work, 0.0, failed="work.failed"))
        await work.done.wait()
        running.cancel()
        await asyncio.wait([running])
    return [entry["event"] for entry in logs]


async def test_work_begins_at_once_and_goes_on() -> None:
    assert await events_of("...") == []


async def test_work_goes_on_after_a_failure_that_is_logged() -> None:
    assert await events_of("x..") == ["work.failed"]


async def test_failures_in_a_row_are_logged_once() -> None:
    assert await events_of("xxx.xx.") == ["work.failed", "work.failed"]
