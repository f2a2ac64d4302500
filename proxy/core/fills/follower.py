"""The follower of a fill that another process owns."""

import asyncio

import structlog

from proxy.core.fills.fill import Fill
from proxy.core.fills.hashing import PrefixHash
from proxy.core.fills.owner import WrongBytesError, settle
from proxy.core.fills.ports import Partial, State
from proxy.core.ports import Clock
from proxy.model.errors import ErrorCode, ProxyError

_HUNG_POLLS = 100
"""How much more rarely a fill is looked at whose owner hangs."""

_log = structlog.get_logger(__name__)


class Follower:
    """Watch the partial of another process's fill: one poller for all readers of this process.

    `poll` is the interval in seconds, `patience` how long an owner that lives may make no progress; `batch` is how
    many bytes are hashed at a time.
    """

    def __init__(self, clock: Clock, poll: float, patience: float, batch: int) -> None:
        """Keep the limits."""
        self._clock = clock
        self._poll = poll
        self._patience = patience
        self._batch = batch

    async def run(self, fill: Fill, partial: Partial) -> None:
        """Tell `fill` of all progress until it has ended or the partial is OWNED: its owner died.

        A fill that is still FILLING otherwise must open its digest again: the partial was thrown away.
        """
        watermark, since = partial.watermark, self._clock.monotonic()
        while True:
            if fill.gives_way:
                fill.fail(ProxyError(ErrorCode.UNAVAILABLE))
                return
            await partial.poll()
            _share(fill, partial)
            if partial.watermark > watermark:
                watermark, since = partial.watermark, self._clock.monotonic()
            if partial.state is not State.FOLLOWED:
                break
            if self._clock.monotonic() - since > self._patience:
                await self._leave_hung(fill, partial)
                return
            await asyncio.sleep(self._poll)
        if partial.state is State.OWNED:
            _log.info("fill.taken_over", digest=str(fill.digest), watermark=partial.watermark)
        elif partial.state is State.COMMITTED:
            fill.finish()
        elif partial.state is State.FAILED:
            fill.fail(WrongBytesError(partial.origin.route, fill.digest))
        elif partial.state is State.UNCACHED or fill.served:
            # Also where the owner threw the bytes away although readers here had some of them: they go on by
            # themselves, and what they get is verified with the bytes they had.
            fill.stop()
            await settle(fill, PrefixHash(fill, self._batch))

    async def _leave_hung(self, fill: Fill, partial: Partial) -> None:
        """Send readers on their own way; come back when the owner moves again or has died.

        A lock cannot be taken from a process that lives. New readers need not find out anew: until then they are
        sent on at once.
        """
        _log.warning(
            "fill.uncached",
            digest=str(fill.digest),
            watermark=fill.watermark,
            reason="the process that owns the fill makes no progress",
        )
        watermark = partial.watermark
        fill.stop()
        await settle(fill, PrefixHash(fill, self._batch))
        while partial.state is State.FOLLOWED and partial.watermark == watermark:
            await asyncio.sleep(self._poll * _HUNG_POLLS)
            await partial.poll()


def _share(fill: Fill, partial: Partial) -> None:
    if partial.total is not None:
        fill.promise(partial.total)
        fill.reach(partial.watermark)
