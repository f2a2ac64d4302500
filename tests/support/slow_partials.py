"""Partials in memory on a disk that stands still."""

from collections.abc import Sequence

from proxy.core.fills.ports import State
from proxy.model.digest import Digest
from proxy.storage.partials import MemoryPartialStore
from proxy.storage.partials.memory import MemoryPartial
from tests.support.fills import FillBench
from tests.support.routes import Gate


class SlowPartialStore(MemoryPartialStore):
    """A store whose disk stands still until the gate opens."""

    def __init__(self, bench: FillBench, gate: Gate) -> None:
        super().__init__(bench.blobs)
        self.gate = gate

    async def open(self, digest: Digest) -> MemoryPartial:
        partial = await super().open(digest)
        return SlowPartial(partial, self.gate) if partial.state is State.OWNED else partial


class SlowPartial(MemoryPartial):
    def __init__(self, partial: MemoryPartial, gate: Gate) -> None:
        self.__dict__.update(partial.__dict__)
        self.gate = gate

    async def append(self, chunks: Sequence[bytes]) -> None:
        await self.gate.wait()
        await super().append(chunks)

    async def write_ahead(self, position: int, chunks: Sequence[bytes]) -> None:
        await self.gate.wait()
        await super().write_ahead(position, chunks)
