"""Work beside a test, and waiting for what it brings about."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def started(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Run `work` beside the test, which awaits or cancels it."""
    return asyncio.get_running_loop().create_task(work)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - what is observed has no event to wait for
        await asyncio.sleep(0)
