"""Partials in memory: the twin of the file store, for tests.

Several `Fills` that share one store behave like several processes on one folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.core.fills.ports import Origin, State
from proxy.core.ports import BlobReader, BlobStore, StorageFullError
from proxy.model.digest import Digest


@dataclass(eq=False, slots=True)
class _Shared:
    """What all holders of one partial see. `ended` is FOLLOWED until it has ended."""

    total: int | None = None
    origin: Origin = field(default_factory=Origin)
    data: bytearray = field(default_factory=bytearray)
    watermark: int = 0
    ended: State = State.FOLLOWED
    locked: bool = False


class MemoryPartialStore:
    """The `PartialStore` port over a dictionary, committing to `blobs`.

    `capacity` is the room in bytes for all that is on its way; `writable` False is a read-only store.
    """

    def __init__(self, blobs: BlobStore, capacity: int = 1 << 30) -> None:
        """Start empty."""
        self.blobs = blobs
        self.capacity = capacity
        self.writable = True
        self.partials: dict[Digest, _Shared] = {}

    async def open(self, digest: Digest) -> "MemoryPartial":
        """Open what there is of `digest`, or begin it."""
        reader = await self.blobs.open(digest)
        if reader is not None:
            return MemoryPartial(self, digest, State.COMMITTED, _Shared(total=reader.size), reader)
        if not self.writable:
            raise StorageFullError("the store is read-only")
        shared = self.partials.setdefault(digest, _Shared())
        if shared.locked:
            return MemoryPartial(self, digest, State.FOLLOWED, shared)
        shared.locked = True
        reader = await self.blobs.open(digest)
        if reader is not None:  # committed between our look and our lock
            shared.locked = False
            del self.partials[digest]
            return MemoryPartial(self, digest, State.COMMITTED, _Shared(total=reader.size), reader)
        return MemoryPartial(self, digest, State.OWNED, shared)

    @property
    def room(self) -> int:
        """Return the bytes that still fit."""
        return self.capacity - sum(len(shared.data) for shared in self.partials.values())


class MemoryPartial:
    """The `Partial` port over bytes that its holders share."""

    def __init__(
        self, store: MemoryPartialStore, digest: Digest, state: State, shared: _Shared, reader: BlobReader | None = None
    ) -> None:
        """Look at `shared`; `reader` is the stored blob."""
        self.state = state
        self.total: int | None = None
        self.watermark = 0
        self.origin = Origin()
        self._store = store
        self._digest = digest
        self._shared = shared
        self._reader = reader
        self._owns = state is State.OWNED
        self._see()

    async def poll(self) -> None:
        """Look again, and take over from an owner that has died."""
        if self.state is not State.FOLLOWED:
            return
        if self._shared.ended is not State.FOLLOWED:
            self.state = self._shared.ended
        elif not self._shared.locked:
            self._shared.locked = self._owns = True
            self.state = State.OWNED
        self._see()

    async def begin(self, total: int, origin: Origin) -> None:
        """Keep size and origin."""
        self._shared.total, self._shared.origin = total, origin
        self._see()

    async def append(self, chunks: Sequence[bytes]) -> None:
        """Write `chunks` at the watermark, then raise it."""
        self._write(self._shared.watermark, chunks)
        self._shared.watermark += sum(map(len, chunks))
        self._see()

    async def write_ahead(self, position: int, chunks: Sequence[bytes]) -> None:
        """Write `chunks` above the watermark."""
        self._write(position, chunks)

    async def advance(self, watermark: int) -> None:
        """Raise the watermark over bytes that were written ahead of it."""
        self._shared.watermark = watermark
        self._see()

    async def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`."""
        if self._reader is not None:
            return await self._reader.read(position, size)
        return bytes(self._shared.data[position : min(position + size, self.watermark)])

    async def commit(self) -> None:
        """Make the bytes the stored blob."""
        async with self._store.blobs.writer(self._digest) as writer:
            await writer.write(bytes(self._shared.data))
            await writer.commit()
        self._end(State.COMMITTED)

    async def store(self, total: int, origin: Origin, chunks: Sequence[bytes]) -> None:
        """Begin, append and commit at once."""
        await self.begin(total, origin)
        await self.append(chunks)
        await self.commit()

    async def abandon(self, state: State) -> None:
        """Tell followers and remove the bytes."""
        self._end(state)

    def release(self) -> None:
        """Give up the lock."""
        if self._owns:
            self._owns = self._shared.locked = False

    def close(self) -> None:
        """Give up lock and bytes."""
        self.release()
        if self._reader is not None:
            self._reader.close()

    def _write(self, position: int, chunks: Sequence[bytes]) -> None:
        written, data = self._shared.data, b"".join(chunks)
        growth = position + len(data) - len(written)
        if growth > self._store.room:
            raise StorageFullError("the store is full")
        written.extend(bytes(max(0, growth)))
        written[position : position + len(data)] = data

    def _end(self, state: State) -> None:
        self._shared.ended = self.state = state
        if self._store.partials.get(self._digest) is self._shared:
            del self._store.partials[self._digest]
        self.release()

    def _see(self) -> None:
        self.total, self.origin = self._shared.total, self._shared.origin
        self.watermark = self._reader.size if self._reader is not None else self._shared.watermark
