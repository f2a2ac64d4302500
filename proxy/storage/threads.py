"""A thread pool of the store's own, so that slow disks cannot starve other users of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Run blocking calls beside the loop. After `close`, calls that run go on to their end."""

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns. A caller that is cancelled does not stop the call."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    def start(self, call: Callable[[], None]) -> None:
        """Run `call`, for whose end nobody waits: it must not raise."""
        self._pool.submit(call)

    def close(self) -> None:
        """Take no more calls; the threads end with their last one. Never waits, so that the loop may call it."""
        self._pool.shutdown(wait=False)
