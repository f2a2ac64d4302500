"""The journal of an emulator: every request, and how its reply ended."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tests.emulators.messages import Request, Route


class Ending(StrEnum):
    """How an exchange ended."""

    OPEN = "open"
    COMPLETE = "complete"
    CUT = "cut"  # by a fault
    ABORTED = "aborted"  # the client left


@dataclass
class Exchange:
    """One request and its reply. `time` is the injected clock's; `sent` are bytes of the body given to the socket."""

    time: float
    request: Request
    route: Route
    status: int = 0
    sent: int = 0
    ending: Ending = Ending.OPEN

    @property
    def host(self) -> str:
        return self.request.host

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def target(self) -> str:
        return self.request.target

    @property
    def authorization(self) -> str | None:
        return self.request.authorization

    @property
    def aborted(self) -> bool:
        return self.ending is Ending.ABORTED

    def __str__(self) -> str:
        return f"{self.method} https://{self.host}{self.target} {self.status}"


class Journal:
    """Exchanges in the order in which their requests came."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._changed = asyncio.Condition()

    def of(
        self, route: Route | None = None, method: str | None = None, *, host: str | None = None, containing: str = ""
    ) -> list[Exchange]:
        """Return the exchanges that match all that is given."""
        return [
            each
            for each in self.exchanges
            if route in {None, each.route}
            and method in {None, each.method}
            and host in {None, each.host}
            and containing in each.target
        ]

    def count(
        self, route: Route | None = None, method: str | None = None, *, host: str | None = None, containing: str = ""
    ) -> int:
        return len(self.of(route, method, host=host, containing=containing))

    @property
    def lines(self) -> list[str]:
        """Return ``METHOD URL status`` of every exchange."""
        return [str(each) for each in self.exchanges]

    def clear(self) -> None:
        self.exchanges.clear()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds; it is looked at whenever the journal changes."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def changed(self) -> None:
        """Wake those who wait; the bench calls it."""
        async with self._changed:
            self._changed.notify_all()
