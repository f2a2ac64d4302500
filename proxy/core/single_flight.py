"""Share one piece of work among all who want its result at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar, cast

from proxy.core.tasks import Tasks

T = TypeVar("T")


class SingleFlight:
    """Run at most one call per key; everybody who asks meanwhile gets the same result or the same exception.

    The work belongs to `tasks`, not to the first caller: a caller that is cancelled changes nothing for the others.
    """

    def __init__(self, tasks: Tasks) -> None:
        """Keep nothing but what is running."""
        self._tasks = tasks
        self._flights: dict[Hashable, asyncio.Future[object]] = {}

    def flying(self, key: Hashable) -> bool:
        """Tell whether a call for `key` is running."""
        return key in self._flights

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` returns, or what the running call for `key` does."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_future()
            self._flights[key] = flight
            self._tasks.spawn(f"flight {key}", self._run(key, flight, work))
        return cast("T", await asyncio.shield(flight))

    async def _run(
        self, key: Hashable, flight: asyncio.Future[object], work: Callable[[], Coroutine[Any, Any, T]]
    ) -> None:
        try:
            result = await work()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed to every caller, who handles it
            flight.set_exception(error)
            flight.exception()  # a flight whose callers have all left is not an unhandled error
        else:
            flight.set_result(result)
        finally:
            del self._flights[key]
