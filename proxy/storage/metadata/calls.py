"""Calls that wait for a thread of the metadata, which takes many of them at a time.

A hop to a thread and back costs several times what most transactions do: the fewer hops, the more of them.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy.engine import Connection

from proxy.storage.threads import Threads

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Call:
    """Work that somebody waits for, and what came of it: a result, or an error."""

    name: str
    work: Callable[[Connection], Any]
    durable: bool
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Calls:
    """A queue that up to `runners` threads work off in order, `most` calls at a time; `run` does some, and blocks.

    `run` gives each call that it is given its result or error, from the first on, and returns how many it did; the
    others are first again. One thread is busy as long as it keeps up.
    """

    def __init__(self, threads: Threads, runners: int, most: int, run: Callable[[Sequence[Call]], int]) -> None:
        """Begin with nothing to do. `threads` stay the caller's, and are used for nothing else that takes long."""
        self._threads = threads
        self._runners = runners
        self._most = most
        self._run = run
        self._guard = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._running = 0

    async def do(self, name: str, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Return what `work` returns, or raise what it raises. To be called from one loop at a time.

        A caller that is cancelled before its turn takes its call back.
        """
        call = Call(name, work, durable, asyncio.get_running_loop().create_future())
        with self._guard:
            self._waiting.append(call)
            starts = self._running < self._runners and len(self._waiting) > self._running * self._most
            self._running += starts
        if starts:
            self._start(call)
        result: T = await call.done
        return result

    def _start(self, call: Call) -> None:
        try:
            self._threads.start(self._work_off)
        except BaseException:  # closed, or no more threads: who comes next must not wait for one that never runs
            with self._guard:
                self._running -= 1
                with suppress(ValueError):
                    self._waiting.remove(call)
            raise

    def _work_off(self) -> None:
        while calls := self._take():
            done = len(calls)
            try:
                done = self._run(calls)
            except BaseException as error:  # noqa: BLE001 - it is told to all, who would else wait for ever
                _log.exception("metadata.calls_failed")
                for call in calls:
                    call.error = error if isinstance(error, Exception) else RuntimeError(f"{call.name} failed: {error}")
            if done < len(calls):
                with self._guard:
                    self._waiting.extendleft(reversed(calls[done:]))
            _tell(calls[:done])

    def _take(self) -> list[Call]:
        with self._guard:
            calls: list[Call] = []
            while self._waiting and len(calls) < self._most:
                call = self._waiting.popleft()
                if not call.done.cancelled():  # nobody waits for it, and nothing of it was done
                    calls.append(call)
            self._running -= not calls
        return calls


def _tell(calls: Sequence[Call]) -> None:
    """Wake all who wait, by one call."""
    try:
        calls[0].done.get_loop().call_soon_threadsafe(_resolve, calls)
    except RuntimeError:
        _log.debug("metadata.nobody_waits", calls=len(calls))  # the loop is closed


def _resolve(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.done.done():
            continue  # its caller was cancelled
        if call.error is not None:
            call.done.set_exception(call.error)
        else:
            call.done.set_result(call.result)
