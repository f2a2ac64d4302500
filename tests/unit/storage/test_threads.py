"""Blocking calls run beside the loop."""

import threading

import pytest

from proxy.storage.threads import Threads


async def test_a_call_runs_in_a_thread_of_the_pool_and_its_result_comes_back() -> None:
    threads = Threads("disk", 1)
    assert (await threads.run(lambda: threading.current_thread().name)).startswith("disk")
    threads.close()


async def test_a_call_that_raises_raises_for_the_caller() -> None:
    threads = Threads("disk", 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    threads.close()
