"""One piece of work is shared by all who ask for it at the same time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks


@pytest.fixture
async def flights() -> AsyncIterator[SingleFlight]:
    async with Tasks() as tasks:
        yield SingleFlight(tasks)


class Work:
    """Count calls and end when told."""

    def __init__(self) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        self.started.set()
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return self.calls


async def test_callers_at_the_same_time_share_one_call(flights: SingleFlight) -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(flights.do("key", work)) for _ in range(20)]
        await work.started.wait()
        work.release.set()
    assert [caller.result() for caller in callers] == [1] * 20
    assert not flights.flying("key")


async def test_the_next_caller_gets_a_call_of_its_own(flights: SingleFlight) -> None:
    work = Work()
    work.release.set()
    assert [await flights.do("key", work), await flights.do("key", work)] == [1, 2]


async def test_every_caller_sees_the_failure(flights: SingleFlight) -> None:
    work = Work()
    work.error = LookupError("no")
    async with asyncio.TaskGroup() as group:

        async def ask() -> str:
            with pytest.raises(LookupError) as caught:
                await flights.do("key", work)
            return str(caught.value)

        callers = [group.create_task(ask()) for _ in range(3)]
        await work.started.wait()
        work.release.set()
    assert [caller.result() for caller in callers] == ["no"] * 3


async def test_a_caller_that_is_cancelled_changes_nothing_for_the_others(flights: SingleFlight) -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.do("key", work))
        await work.started.wait()
        second = group.create_task(flights.do("key", work))
        first.cancel()
        await asyncio.wait([first])
        work.release.set()
    assert first.cancelled()
    assert second.result() == 1


async def test_it_tells_whether_a_call_has_ended_since(flights: SingleFlight) -> None:
    work = Work()
    work.release.set()
    before = flights.count
    await flights.do("key", work)
    assert flights.landed("key", before)
    assert not flights.landed("key", flights.count)
    assert not flights.landed("other", before)
