"""Routes to an upstream that tests script: what each request is answered, where it waits, where it breaks off."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from proxy.model.errors import UpstreamError, UpstreamFailure


class Gate:
    """A place where an answer waits: `reached` when it got there, until `open`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._opened.wait()


def broken(failure: UpstreamFailure = UpstreamFailure.UNREACHABLE) -> UpstreamError:
    return UpstreamError(failure, f"the test's upstream failed: {failure}")


@dataclass
class Answer:
    """How one request is answered; the default is what a good upstream does.

    Positions are in the blob. `before` holds back the headers, `gates` the bytes from a position on; `breaks` raises
    and `ends` ends the transfer there without an error. `start`, `stop`, `total` and `data` lie.
    """

    error: UpstreamError | None = None
    before: Gate | None = None
    gates: Mapping[int, Gate] = field(default_factory=dict)
    breaks: int | None = None
    ends: int | None = None
    failure: UpstreamFailure = UpstreamFailure.UNREACHABLE
    start: int | None = None
    stop: int | None = None
    total: int | None = None
    data: bytes | None = None
    validator: str = '"1"'


class ScriptedRoute:
    """The `BlobRoute` port over `content`: the first requests get `answers`, all later ones the default.

    `requests` has the start of each request, `stops` its end, `validators` what it carried; `sent` counts bytes,
    `running` transfers. Answers in `at` are for requests that begin there, and go before those in order.
    """

    def __init__(
        self,
        content: bytes,
        *answers: Answer,
        name: str = "hub library/nginx",
        chunk: int = 1000,
        parallel: int = 1,
        at: Mapping[int, Sequence[Answer]] | None = None,
    ) -> None:
        self.content = content
        self.parallel = parallel
        self.at = {start: deque(answers) for start, answers in (at or {}).items()}
        self.answers = deque(answers)
        self.requests: list[int] = []
        self.stops: list[int | None] = []
        self.validators: list[str] = []
        self.sent = 0
        self.running = 0
        self.most = 0
        self._name = name
        self._chunk = chunk

    @property
    def name(self) -> str:
        return self._name

    @property
    def rule(self) -> str:
        return self._name.split(" ", maxsplit=1)[0]

    def open(self, start: int, validator: str, stop: int | None = None) -> AbstractAsyncContextManager["ScriptedBody"]:
        return self._open(start, validator, stop)

    @asynccontextmanager
    async def _open(self, start: int, validator: str, stop: int | None) -> AsyncIterator["ScriptedBody"]:
        self.requests.append(start)
        self.stops.append(stop)
        self.validators.append(validator)
        answers = self.at.get(start) or self.answers
        answer = answers.popleft() if answers else Answer()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if answer.before is not None:
                await answer.before.wait()
            if answer.error is not None:
                raise answer.error
            yield ScriptedBody(self, answer, start, stop)
        finally:
            self.running -= 1

    def cut(self, data: bytes, answer: Answer, start: int) -> AsyncIterator[bytes]:
        """Yield `data` from `start` to its end, as `answer` says."""
        return self._cut(data, answer, start)

    async def _cut(self, data: bytes, answer: Answer, start: int) -> AsyncIterator[bytes]:
        position = start
        stops = sorted(at for at in {*answer.gates, answer.breaks, answer.ends, len(data)} if at is not None)
        while True:
            gate = answer.gates.get(position)
            if gate is not None:
                await gate.wait()
            if position == answer.breaks:
                raise broken(answer.failure)
            if position in {answer.ends, len(data)}:
                return
            stop = min([position + self._chunk, *(at for at in stops if at > position)])
            self.sent += stop - position
            yield data[position:stop]
            position = stop


class ScriptedBody:
    """The `BlobBody` of one answer."""

    def __init__(self, route: ScriptedRoute, answer: Answer, asked: int, stop: int | None) -> None:
        self._route = route
        self._answer = answer
        data = route.content if answer.data is None else answer.data
        self.start = asked if answer.start is None else answer.start
        self.total = len(route.content) if answer.total is None else answer.total
        # An answer that begins elsewhere, or says where it ends, is not one to the range that was asked for.
        asked_for = self.total if stop is None or answer.start is not None else min(stop, self.total)
        self.stop = asked_for if answer.stop is None else answer.stop
        self._data = data if self.stop == self.total else data[: self.stop]
        self.validator = answer.validator

    def chunks(self) -> AsyncIterator[bytes]:
        return self._route.cut(self._data, self._answer, self.start)
