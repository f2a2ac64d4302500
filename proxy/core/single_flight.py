"""Share one piece of work among all who want its result at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, TypeVar, cast

from proxy.core.tasks import Tasks

T = TypeVar("T")

_REMEMBERED: Final = 4096


class SingleFlight:
    """Run at most one call per key; everybody who asks meanwhile gets the same result or the same exception.

    The work belongs to `tasks`, not to the first caller: a caller that is cancelled changes nothing for the others.
    """

    def __init__(self, tasks: Tasks) -> None:
        """Keep nothing but what is running."""
        self._tasks = tasks
        self._flights: dict[Hashable, asyncio.Future[object]] = {}
        self._count = 0
        self._landed: OrderedDict[Hashable, int] = OrderedDict()  # those that ended last, by number

    @property
    def count(self) -> int:
        """Return how many calls have ended."""
        return self._count

    def landed(self, key: Hashable, count: int) -> bool:
        """Tell whether a call for `key` has ended since there were `count`: what was looked for before may be there."""
        return self._landed.get(key, 0) > count

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
            self._count += 1
            self._landed[key] = self._count
            self._landed.move_to_end(key)
            if len(self._landed) > _REMEMBERED:
                self._landed.popitem(last=False)
