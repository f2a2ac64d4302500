"""Work on documents that would hold up the event loop, done in a thread where they are large."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LARGE: Final = 64 << 10
"""Bytes from which on all other requests would notice; below it, the way to a thread and back takes longer."""


class Offloader:
    """Do work on documents beside the loop, one large one at a time; `close` ends the thread.

    A process has one of these: such work holds the interpreter, so that more at a time would be done no sooner, and
    stall the loop longer.
    """

    def __init__(self) -> None:
        """Start no thread yet: the first large document does."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="documents")

    async def run(self, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns, which is about a document of `size` bytes; a large one is left to the thread."""
        if size > _LARGE:
            return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))
        return work(*args, **kwargs)

    def close(self) -> None:
        """End the thread, once it has done what it is at; `run` is not called any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
