import asyncio
import threading
from collections.abc import Iterator

import pytest

from proxy.core.offloading import Offloader

LARGEST_HERE = 64 << 10


@pytest.fixture
def offloader() -> Iterator[Offloader]:
    made = Offloader()
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, LARGEST_HERE])
async def test_a_small_document_is_not_worth_the_way_to_a_thread(offloader: Offloader, size: int) -> None:
    assert await offloader.run(size, threading.get_ident) == threading.get_ident()


async def test_a_large_document_leaves_the_loop_free(offloader: Offloader) -> None:
    assert await offloader.run(LARGEST_HERE + 1, threading.get_ident) != threading.get_ident()


async def test_large_documents_are_worked_on_one_at_a_time(offloader: Offloader) -> None:
    all_wait = threading.Event()

    def work() -> int:
        all_wait.wait()
        return threading.get_ident()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(offloader.run(LARGEST_HERE + 1, work)) for _ in range(4)]
        await asyncio.sleep(0)
        all_wait.set()
    assert len({task.result() for task in tasks}) == 1


@pytest.mark.parametrize("size", [1, LARGEST_HERE + 1])
async def test_what_the_work_raises_is_raised(offloader: Offloader, size: int) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await offloader.run(size, int, "none", base=10)
