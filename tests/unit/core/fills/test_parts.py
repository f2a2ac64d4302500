"""The small parts of a fill, each for itself."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Self

import pytest

from proxy.core.fills.fill import Fill
from proxy.core.fills.hashing import PrefixHash, update
from proxy.core.fills.room import Room
from proxy.core.fills.transfer import DiscontinuityError, Pipe, chunks_from, together
from proxy.core.fills.window import WINDOW, Shares, Window
from proxy.core.ports import StorageFullError
from proxy.model.digest import Digest, Hasher
from proxy.model.errors import UpstreamError
from proxy.storage.blobs import MemoryBlobStore
from tests.support.background import started
from tests.support.clock import FakeClock
from tests.support.routes import Answer, Gate, ScriptedRoute, broken


async def chunked(*chunks: bytes, error: UpstreamError | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


class TestWindow:
    def test_gives_bytes_across_chunks(self) -> None:
        window = Window(100)
        for position in range(0, 50, 10):
            window.append(position, bytes(range(position, position + 10)))
        assert b"".join(window.pieces(5, 20)) == bytes(range(5, 25))
        assert b"".join(window.pieces(45, 20)) == bytes(range(45, 50))
        assert window.pieces(50, 20) == []

    def test_forgets_the_oldest(self) -> None:
        window = Window(25)
        for position in range(0, 50, 10):
            window.append(position, bytes(10))
        assert window.pieces(29, 1) == []
        assert b"".join(window.pieces(30, 99)) == bytes(20)

    def test_keeps_one_chunk_that_is_longer_than_the_limit(self) -> None:
        window = Window(5)
        window.append(0, b"0123456789")
        assert window.pieces(3, 4) == [b"3456"]

    def test_gives_a_whole_chunk_without_a_copy(self) -> None:
        window = Window(100)
        chunk = b"0123456789"
        window.append(0, chunk)
        assert window.pieces(0, 10)[0] is chunk


class TestShares:
    def test_a_few_fills_and_readers_have_all_they_want(self) -> None:
        shares = Shares()
        shares.fills, shares.readers = 8, 32
        assert shares.window == WINDOW
        assert shares.segment(256 << 10) == 256 << 10

    @pytest.mark.parametrize("count", [1, 10, 100, 1000, 100_000])
    def test_what_all_of_them_hold_is_bounded_until_each_has_the_least(self, count: int) -> None:
        shares = Shares()
        shares.fills = shares.readers = count
        assert count * shares.window <= max(32 << 20, count * (256 << 10))
        assert count * shares.segment(256 << 10) <= max(8 << 20, count * (32 << 10))
        assert shares.segment(700) == 700

    def test_a_fill_and_its_readers_are_counted_as_long_as_they_are_there(self) -> None:
        shares = Shares()
        fill = Fill(Digest.of(b"x"), None, shares=shares)
        fill.join(ScriptedRoute(b"x"))
        assert (shares.fills, shares.readers) == (1, 1)
        fill.end()
        fill.leave()
        assert (shares.fills, shares.readers) == (0, 0)

    async def test_readers_at_the_tip_share_large_pieces(self) -> None:
        fill = Fill(Digest.of(b"x"), None)
        piece = bytes(100 << 10)
        fill.promise(1 << 20)
        fill.extend([piece, b"small", b"small"])
        assert await fill.read(0, 256 << 10) is piece
        assert await fill.read(len(piece), 256 << 10) == b"smallsmall"

    def test_one_that_has_failed_gives_nothing_more(self) -> None:
        fill = Fill(Digest.of(b"x"), None)
        fill.promise(10)
        fill.extend([b"12345"])
        assert fill.readable == 5
        fill.fail(broken())
        assert fill.readable == 0


class TestRoom:
    async def test_the_device_is_not_looked_at_for_each_of_many_small_blobs(self) -> None:
        clock, blobs = FakeClock(), LookedAt(2 << 30)
        room = Room(blobs, clock, 0)
        fills = [Fill(Digest.of(b"x"), None) for _ in range(10)]
        for fill in fills:
            await room.admit(fill, 1000)
            room.drop(fill)
        assert blobs.looks == 1
        clock.advance(2)
        await room.admit(fills[0], 1000)
        assert blobs.looks == 2

    async def test_the_device_is_looked_at_each_time_where_room_is_scarce(self) -> None:
        blobs = LookedAt(1500)
        room = Room(blobs, FakeClock(), 0)
        first, second = (Fill(Digest.of(b"x"), None) for _ in range(2))
        await room.admit(first, 1000)
        with pytest.raises(StorageFullError):
            await room.admit(second, 1000)
        assert blobs.looks == 2

    async def test_what_was_admitted_since_the_last_look_is_counted(self) -> None:
        blobs = LookedAt((1 << 30) + 2500)
        room = Room(blobs, FakeClock(), 0)
        for _ in range(3):
            fill = Fill(Digest.of(b"x"), None)
            await room.admit(fill, 1000)
            room.drop(fill)
        assert blobs.looks == 2

    async def test_what_was_admitted_during_a_look_is_counted(self) -> None:
        blobs = LookedAt((1 << 30) + 2500)
        room = Room(blobs, FakeClock(), 0)
        fills = [Fill(Digest.of(b"x"), None) for _ in range(3)]
        blobs.gates = gates = [Gate(), Gate()]
        both = [started(room.admit(fill, 1000)) for fill in fills[:2]]
        await asyncio.gather(*(gate.reached.wait() for gate in gates))
        for gate, admitted in zip(gates, both, strict=True):
            gate.open()
            await admitted
        room.drop(fills[0])
        room.drop(fills[1])
        await room.admit(fills[2], 1000)
        assert blobs.looks == 3


class LookedAt(MemoryBlobStore):
    """A store that counts the looks at its free space, of which the first ones wait for `gates`."""

    looks = 0
    gates: Sequence[Gate] = ()

    async def free(self) -> int:
        self.looks += 1
        found = await super().free()
        if self.looks <= len(self.gates):
            await self.gates[self.looks - 1].wait()
        return found


class TestPipe:
    async def test_gives_what_is_there_about_as_much_as_asked_for(self) -> None:
        pipe = Pipe(1000)
        await pipe.receive(chunked(b"a" * 10, b"b" * 10, b"c" * 10))
        assert await pipe.take(15) == [b"a" * 10 + b"b" * 10]
        assert await pipe.take(15) == [b"c" * 10]
        assert await pipe.take(15) == []

    async def test_gives_the_bytes_before_an_error_and_then_the_error(self) -> None:
        pipe = Pipe(1000)
        await pipe.receive(chunked(b"ab", error=broken()))
        assert await pipe.take(15) == [b"ab"]
        with pytest.raises(UpstreamError):
            await pipe.take(15)

    async def test_pauses_the_sender_when_it_is_full(self) -> None:
        pipe = Pipe(20)
        sending = started(pipe.receive(chunked(*[b"x" * 10] * 10)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not sending.done()
        assert pipe.size == 20
        taken = b""
        while chunks := await pipe.take(10):
            taken += b"".join(chunks)
        assert taken == b"x" * 100

    async def test_joins_small_chunks_and_keeps_large_ones(self) -> None:
        pipe = Pipe(1 << 20)
        large = b"l" * (64 << 10)
        await pipe.receive(chunked(large, b"a", b"b", large))
        taken = await pipe.take(1 << 20)
        assert taken[0] is large
        assert b"".join(taken) == large + b"ab" + large


class TestChunksFrom:
    async def collect(self, route: ScriptedRoute, start: int) -> bytes:
        self.got: list[bytes] = []
        async with route.open(start, "") as body:
            async for chunk in chunks_from("route", body, start):
                self.got.append(chunk)
        return b"".join(self.got)

    async def test_skips_what_a_whole_body_repeats(self) -> None:
        assert await self.collect(ScriptedRoute(b"0123456789", Answer(start=0), chunk=3), 4) == b"456789"

    async def test_says_where_a_body_ended_early(self) -> None:
        with pytest.raises(UpstreamError, match="after 5 of 10"):
            await self.collect(ScriptedRoute(b"0123456789", Answer(ends=5), chunk=3), 0)

    async def test_refuses_a_body_that_runs_over(self) -> None:
        route = ScriptedRoute(b"0123456789", Answer(total=9), chunk=3)
        with pytest.raises(DiscontinuityError):
            await self.collect(route, 0)
        assert b"".join(self.got) == b"012345"


class TestTogether:
    async def test_raises_what_the_first_to_fail_raised_and_ends_the_others(self) -> None:
        ended = asyncio.Event()

        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def fails() -> None:
            raise broken()

        with pytest.raises(UpstreamError):
            await together(waits(), fails())
        assert ended.is_set()


class TestHashing:
    async def test_short_and_long_pieces_give_the_digest_of_all(self) -> None:
        hasher = Digest.of(b"").hasher()
        for piece in (b"a", b"b" * 100_000, b"c"):
            await update(hasher, [piece])
        assert hasher.hexdigest() == hashlib.sha256(b"a" + b"b" * 100_000 + b"c").hexdigest()

    async def test_bytes_that_are_no_longer_there_are_an_error(self) -> None:
        fill = Fill(Digest.of(b"x"), None)
        fill.watermark = 10
        with pytest.raises(OSError, match="no longer there"):
            await PrefixHash(fill, 100).reach(10)

    async def test_bytes_whose_writing_fails_while_they_are_hashed_do_not_count(self) -> None:
        hashing = PrefixHash(Fill(Digest.of(b"x"), None), 1 << 20)
        own, hashed = hashing.hasher, threading.Event()

        class Watched:
            """A hasher that tells when it was fed, and whose copies do."""

            def __init__(self, hasher: Hasher) -> None:
                self.hasher = hasher

            def update(self, data: bytes | bytearray | memoryview, /) -> None:
                self.hasher.update(data)
                hashed.set()

            def hexdigest(self) -> str:
                return self.hasher.hexdigest()

            def copy(self) -> Self:
                return type(self)(self.hasher.copy())

        async def find_no_room() -> None:
            await asyncio.to_thread(hashed.wait, 20)
            raise StorageFullError("the store is full")

        hashing.adopt(Watched(own), 0)
        with pytest.raises(StorageFullError):
            await hashing.beside(find_no_room(), [bytes(100 << 10)])
        assert (hashing.position, own.hexdigest()) == (0, Digest.of(b"").encoded)
