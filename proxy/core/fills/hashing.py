"""The hash of a fill: one serial consumer that follows the bytes as a reader does.

It takes bytes from where they are kept (memory at the tip, the partial behind it), never from a queue. So there is
nothing to overflow while a long prefix is hashed again after a take-over, and nothing that can come twice or out of
order. Who writes bytes that come next may hash them too: then there is nothing to follow.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from proxy.core.fills.fill import Fill, Phase
from proxy.core.fills.ports import Partial
from proxy.core.fills.transfer import together
from proxy.model.digest import Hasher

_HOP = 32 << 10
"""Fewer bytes than this are hashed (20 µs) before a thread could be asked."""


class PrefixHash:
    """Hash [0, `position`) of one fill. Only one task may use it."""

    def __init__(self, fill: Fill, batch: int) -> None:
        """Begin with byte 0; `batch` is how many bytes are hashed at a time."""
        self.hasher = fill.digest.hasher()
        self.position = 0
        self._fill = fill
        self._batch = batch

    def adopt(self, hasher: Hasher, position: int) -> None:
        """Go on from `hasher`, which has been fed [0, `position`), above the watermark."""
        self.hasher, self.position = hasher, position

    async def beside(self, writing: Coroutine[Any, Any, None], chunks: Sequence[bytes]) -> None:
        """Hash the bytes that come next while they are written; where that fails they do not count."""
        hasher = self.hasher.copy()
        if sum(map(len, chunks)) < _HOP:
            await writing
            await update(hasher, chunks)
        else:
            await together(writing, update(hasher, chunks))
        self.adopt(hasher, self.position + sum(map(len, chunks)))

    async def follow(self, partial: Partial) -> None:
        """Hash as bytes arrive, until the last or until no more come. Raises OSError where they cannot be read."""
        while True:
            if self.position < self._fill.watermark:
                await self.reach(self._fill.watermark)
            elif self.position == partial.total or self._fill.phase is not Phase.FILLING:
                return
            else:
                await self._fill.changed()

    async def reach(self, position: int) -> None:
        """Hash up to `position`, which the watermark has reached. Raises OSError where that cannot be read back."""
        while self.position < position:
            pieces = await self._fill.pieces(self.position, min(self._batch, position - self.position))
            size = sum(map(len, pieces))
            if size == 0:
                raise OSError(f"{self._fill.digest}: the bytes from {self.position} on are no longer there")
            await update(self.hasher, pieces)
            self.position += size


async def update(hasher: Hasher, pieces: Sequence[bytes]) -> None:
    """Feed `pieces` in order, beside the loop where that takes long. A hasher whose update was cancelled is spoilt."""
    if sum(map(len, pieces)) < _HOP:
        _feed(hasher, pieces)
    else:
        await asyncio.to_thread(_feed, hasher, pieces)


def _feed(hasher: Hasher, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        hasher.update(piece)
