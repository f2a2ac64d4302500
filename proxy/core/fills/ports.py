"""The port of content on its way from upstream: files or memory that several processes share."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from proxy.model.digest import Digest


class State(Enum):
    """What a partial is to the process that opened it."""

    OWNED = "owned"  # this process alone may append
    FOLLOWED = "followed"  # another process appends
    COMMITTED = "committed"  # stored: all bytes can be read
    UNCACHED = "uncached"  # it will not be kept; [0, watermark) can be read
    FAILED = "failed"  # the bytes were not those of the digest
    GONE = "gone"  # thrown away: open the digest again


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of a partial come from: the name of the route, and the entity tag it gave ("" for none)."""

    route: str = ""
    validator: str = ""


class Partial(Protocol):
    """The bytes of one digest that are there so far, as one process holds them. Whoever opened it closes it.

    `state`, `total`, `watermark` and `origin` are what the last call found. `total` is the size of the whole blob,
    None before the owner knows it; [0, `watermark`) can be read. Calls to append, commit or abandon need OWNED.
    A call that is cancelled may still take effect, but never on another file, and the lock is held until it has.
    """

    @property
    def state(self) -> State:
        """Tell what this partial is to this process."""

    @property
    def total(self) -> int | None:
        """Return the size of the whole blob, once it is known."""

    @property
    def watermark(self) -> int:
        """Return how many bytes from the beginning are there."""

    @property
    def origin(self) -> Origin:
        """Return where the bytes came from, to who owns them or is told that they were wrong."""

    async def poll(self) -> None:
        """Look at a FOLLOWED partial again, and take it over (it is OWNED then) where its owner has died.

        Cheap enough to be called every few milliseconds. What has ended is never taken over: a partial that was
        committed, failed or thrown away before the lock was won is reported as such.
        """

    async def begin(self, total: int, origin: Origin) -> None:
        """Keep size and origin, before the first byte; again where the bytes go on from another origin."""

    async def append(self, chunks: Sequence[bytes]) -> None:
        """Write `chunks` at the watermark, then raise it; `StorageFullError` leaves the watermark where it was."""

    async def write_ahead(self, position: int, chunks: Sequence[bytes]) -> None:
        """Write `chunks` from `position` on, which is above the watermark; `StorageFullError` where they do not fit.

        Nobody can read them, and who takes over does not know of them, before `advance`.
        """

    async def advance(self, watermark: int) -> None:
        """Raise the watermark over bytes that were written ahead of it, all of them."""

    async def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes of [0, watermark) from `position`; OSError where the device fails."""

    async def commit(self) -> None:
        """Make the bytes, which the caller has verified, the stored blob: durable, read-only, COMMITTED.

        Raises `StorageFullError` where that cannot be done; the caller then abandons the partial.
        """

    async def store(self, total: int, origin: Origin, chunks: Sequence[bytes]) -> None:
        """Begin, append and commit at once what the caller has verified: all bytes of a blob, none of them kept yet.

        Raises `StorageFullError` as each of these does; what was done until then is as if it had been done by itself.
        """

    async def abandon(self, state: State) -> None:
        """Tell followers that it has ended as `state` (UNCACHED, FAILED or GONE) and remove it.

        A call to store it that was cancelled may yet have done so: then it stays, and is COMMITTED.
        Processes that have it open can still read what was there.
        """

    def release(self) -> None:
        """Give up the lock and leave the bytes for whoever goes on; reading stays possible. Idempotent."""

    def close(self) -> None:
        """Give up the lock and the bytes. Idempotent."""


class PartialStore(Protocol):
    """Content on its way from upstream, shared by processes; at most one owner per digest at any time.

    An owner that dies, however suddenly, loses its lock at once and leaves its bytes for a successor.
    """

    async def open(self, digest: Digest) -> Partial:
        """Open what there is of `digest`, or begin it.

        The state is COMMITTED where the blob is stored already, OWNED (with the watermark to go on from) or
        FOLLOWED. Raises `StorageFullError` where the store cannot be written.
        """
