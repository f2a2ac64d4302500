"""Background work, owned: one supervised task group for the life of the process."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import structlog

_log = structlog.get_logger(__name__)


class Tasks:
    """Own every task that outlives a request.

    Use as an async context manager around the life of the application. A task that fails is logged with its name;
    the others go on. `drain` stops new work and waits; leaving the context cancels what is left and waits for it.
    """

    def __init__(self) -> None:
        """Start with nothing running; `spawn` works inside the context only."""
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.draining = False

    async def __aenter__(self) -> Self:
        """Open the group."""
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what still runs and wait until it has ended."""
        group, self._group = self._group, None
        self.draining = True
        for task in self._running:
            task.cancel()
        if group is not None:
            # Not told of `error`: a task group wraps it, and callers wait for what was raised inside the context.
            await group.__aexit__(None, None, None)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background under `name`; it must tell others itself what became of it.

        Raises RuntimeError, and closes `work`, outside of the context.
        """
        if self._group is None:
            work.close()
            raise RuntimeError(f"background task {name!r} was started after the end of the application")
        task = self._group.create_task(_logged(name, work), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # One that is cancelled before its first step has not awaited `work`; closing what has ended does nothing.
        task.add_done_callback(lambda _: work.close())

    async def drain(self, seconds: float) -> None:
        """Refuse new fills (see `draining`) and wait up to `seconds` for what runs, and for what that begins."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait(set(self._running))


async def _logged(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001 - the top of a task: nobody else can log it
        _log.exception("task.failed", task=name)
