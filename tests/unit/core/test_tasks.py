"""Background work has an owner: it is logged when it fails, and ended when the application ends."""

import asyncio
import inspect

import pytest
from structlog.testing import capture_logs

from proxy.core.tasks import Tasks


async def test_a_task_that_fails_is_logged_and_the_others_go_on() -> None:
    finished = asyncio.Event()

    async def fail() -> None:
        raise ValueError("broken")

    async def work() -> None:
        finished.set()

    with capture_logs() as events:
        async with Tasks() as tasks:
            tasks.spawn("failing", fail())
            tasks.spawn("working", work())
            await finished.wait()
            await tasks.drain(5)
    assert [(event["event"], event["task"]) for event in events] == [("task.failed", "failing")]


async def test_leaving_the_context_cancels_what_still_runs() -> None:
    started = asyncio.Event()
    ended: list[str] = []

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with Tasks() as tasks:
        tasks.spawn("endless", endless())
        await started.wait()
    assert ended == ["cancelled"]


async def test_what_is_cancelled_before_its_first_step_is_closed() -> None:
    async def never() -> None:
        """Never runs."""

    work = never()
    async with Tasks() as tasks:
        tasks.spawn("never begun", work)
    # Python warns of a coroutine that is dropped without having been awaited.
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


async def test_draining_waits_for_what_runs_and_tells_that_it_drains() -> None:
    release = asyncio.Event()
    ended: list[str] = []

    async def work() -> None:
        await release.wait()
        ended.append("whole")

    async with Tasks() as tasks:
        tasks.spawn("work", work())
        release.set()
        await tasks.drain(5)
        assert tasks.draining
        assert ended == ["whole"]


async def test_nothing_starts_outside_of_the_context() -> None:
    tasks = Tasks()

    async def work() -> None:
        """Never runs."""

    with pytest.raises(RuntimeError, match="'late' was started after the end"):
        tasks.spawn("late", work())


async def test_draining_waits_for_what_begins_meanwhile() -> None:
    ended: list[str] = []

    async def write() -> None:
        await asyncio.sleep(0)
        ended.append("written")

    async def work() -> None:
        await asyncio.sleep(0)
        tasks.spawn("write", write())

    async with Tasks() as tasks:
        tasks.spawn("work", work())
        await tasks.drain(5)
        assert ended == ["written"]


async def test_draining_ends_in_time_whatever_runs() -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    async with Tasks() as tasks:
        tasks.spawn("endless", endless())
        await tasks.drain(0)
        assert tasks.draining
