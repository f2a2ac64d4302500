"""The contract of the `PartialStore` port, over every implementation.

Each `open` stands for one process: locks and files do not tell two holders in one process from two processes.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.core.fills.ports import Origin, Partial, PartialStore, State
from proxy.core.ports import BlobStore
from proxy.model.digest import Digest
from proxy.storage.blobs import FilesystemBlobStore, MemoryBlobStore
from proxy.storage.layout import Layout
from proxy.storage.partials import FilesystemPartialStore, MemoryPartialStore
from proxy.storage.threads import Threads

DATA = bytes(range(256)) * 20
DIGEST = Digest.of(DATA)
ORIGIN = Origin("hub library/nginx", '"etag"')


@dataclass
class Bench:
    """A partial store, the blob store it commits to, and the folder of its files, if it has one."""

    partials: PartialStore
    blobs: BlobStore
    layout: Layout | None

    def files(self) -> set[Path]:
        folder = self.layout.fills if self.layout is not None else None
        return {path for path in folder.rglob("*") if path.is_file()} if folder is not None else set()

    async def stored(self) -> bytes | None:
        reader = await self.blobs.open(DIGEST)
        if reader is None:
            return None
        data = b""
        while part := await reader.read(len(data), 1 << 20):
            data += part
        reader.close()
        return data


@pytest.fixture(params=["filesystem", "memory"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "memory":
        memory = MemoryBlobStore()
        yield Bench(MemoryPartialStore(memory), memory, None)
        return
    layout = Layout(tmp_path)
    threads = Threads("partials", 4)
    blobs = FilesystemBlobStore(layout, threads)
    await blobs.prepare()
    yield Bench(FilesystemPartialStore(layout, threads), blobs, layout)
    await asyncio.to_thread(threads.close)


async def begun(bench: Bench, size: int = 0) -> Partial:
    """Own a fill of which `size` bytes are there."""
    owner = await bench.partials.open(DIGEST)
    assert owner.state is State.OWNED
    await owner.begin(len(DATA), ORIGIN)
    if size:
        await owner.append([DATA[:size]])
    return owner


async def test_what_is_verified_can_be_stored_at_once(bench: Bench) -> None:
    owner = await bench.partials.open(DIGEST)
    follower = await bench.partials.open(DIGEST)
    await owner.store(len(DATA), ORIGIN, [DATA[:1000], DATA[1000:]])
    assert (owner.state, owner.total, owner.watermark) == (State.COMMITTED, len(DATA), len(DATA))
    assert await owner.read(0, len(DATA)) == DATA
    await follower.poll()
    assert (follower.state, follower.total) == (State.COMMITTED, len(DATA))
    assert await follower.read(0, len(DATA)) == DATA
    assert await bench.stored() == DATA
    assert bench.files() == set()
    follower.close()
    owner.close()


async def test_the_first_process_owns_an_empty_partial(bench: Bench) -> None:
    owner = await bench.partials.open(DIGEST)
    assert (owner.state, owner.total, owner.watermark, owner.origin) == (State.OWNED, None, 0, Origin())
    owner.close()


async def test_every_other_process_follows(bench: Bench) -> None:
    owner = await bench.partials.open(DIGEST)
    follower = await bench.partials.open(DIGEST)
    assert (follower.state, follower.total) == (State.FOLLOWED, None)
    follower.close()
    owner.close()


async def test_a_follower_sees_size_and_bytes_as_they_come(bench: Bench) -> None:
    owner = await bench.partials.open(DIGEST)
    follower = await bench.partials.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await follower.poll()
    assert (follower.total, follower.watermark) == (len(DATA), 0)
    await owner.append([DATA[:100], DATA[100:300]])
    await follower.poll()
    assert (follower.state, follower.watermark) == (State.FOLLOWED, 300)
    assert await follower.read(50, 1000) == DATA[50:300]
    follower.close()
    owner.close()


async def test_bytes_can_be_read_anywhere_below_the_watermark_and_nowhere_above(bench: Bench) -> None:
    owner = await begun(bench, 1000)
    assert await owner.read(0, 10) == DATA[:10]
    assert await owner.read(990, 500) == DATA[990:1000]
    assert await owner.read(1000, 10) == b""
    owner.close()


async def test_many_small_chunks_are_written_in_order(bench: Bench) -> None:
    owner = await begun(bench)
    await owner.append([DATA[at : at + 3] for at in range(0, len(DATA), 3)])
    assert owner.watermark == len(DATA)
    assert await owner.read(0, len(DATA)) == DATA
    owner.close()


async def test_what_is_written_ahead_is_read_once_the_watermark_has_passed_it(bench: Bench) -> None:
    owner = await begun(bench, 1000)
    follower = await bench.partials.open(DIGEST)
    await owner.write_ahead(2000, [DATA[2000:2500], DATA[2500:3000]])
    await follower.poll()
    assert (owner.watermark, follower.watermark) == (1000, 1000)
    assert await owner.read(900, 5000) == DATA[900:1000]
    assert await owner.read(2000, 10) == b""
    await owner.append([DATA[1000:2000]])
    assert owner.watermark == 2000
    await owner.advance(3000)
    await follower.poll()
    assert (owner.watermark, follower.watermark) == (3000, 3000)
    assert await owner.read(900, 5000) == await follower.read(900, 5000) == DATA[900:3000]
    await owner.append([DATA[3000:]])
    await owner.commit()
    assert await bench.stored() == DATA
    follower.close()
    owner.close()


async def test_who_takes_over_goes_on_from_the_watermark_whatever_was_written_ahead(bench: Bench) -> None:
    owner = await begun(bench, 1000)
    follower = await bench.partials.open(DIGEST)
    await owner.write_ahead(3000, [b"?" * 1000])
    owner.close()
    await follower.poll()
    assert (follower.state, follower.watermark) == (State.OWNED, 1000)
    await follower.append([DATA[1000:]])
    await follower.commit()
    assert await bench.stored() == DATA
    follower.close()


async def test_committed_bytes_are_the_stored_blob(bench: Bench) -> None:
    owner = await begun(bench, len(DATA))
    await owner.commit()
    assert owner.state is State.COMMITTED
    assert await bench.stored() == DATA
    assert await owner.read(0, len(DATA)) == DATA
    owner.close()
    assert bench.files() == set()


async def test_a_stored_blob_is_opened_as_committed_and_leaves_no_trace(bench: Bench) -> None:
    async with bench.blobs.writer(DIGEST) as writer:
        await writer.write(DATA)
        await writer.commit()
    partial = await bench.partials.open(DIGEST)
    assert (partial.state, partial.total, partial.watermark) == (State.COMMITTED, len(DATA), len(DATA))
    assert await partial.read(10, 20) == DATA[10:30]
    partial.close()
    assert bench.files() == set()


async def test_the_lock_is_kept_when_another_holder_of_the_same_process_closes(bench: Bench) -> None:
    # A POSIX lock would be lost here.
    owner = await begun(bench, 10)
    (await bench.partials.open(DIGEST)).close()
    third = await bench.partials.open(DIGEST)
    assert third.state is State.FOLLOWED
    third.close()
    owner.close()


async def test_a_follower_takes_over_from_an_owner_that_died(bench: Bench) -> None:
    owner = await begun(bench, 700)
    follower = await bench.partials.open(DIGEST)
    other = await bench.partials.open(DIGEST)
    owner.close()  # all that a killed process does
    await follower.poll()
    assert (follower.state, follower.watermark, follower.origin) == (State.OWNED, 700, ORIGIN)
    await other.poll()
    assert other.state is State.FOLLOWED
    await follower.append([DATA[700:]])
    await follower.commit()
    assert await bench.stored() == DATA
    follower.close()
    other.close()


async def test_a_follower_takes_over_from_an_owner_that_died_before_it_knew_the_size(bench: Bench) -> None:
    owner = await bench.partials.open(DIGEST)
    follower = await bench.partials.open(DIGEST)
    owner.close()
    await follower.poll()
    assert (follower.state, follower.total) == (State.OWNED, None)
    await follower.begin(len(DATA), ORIGIN)
    await follower.append([DATA])
    await follower.commit()
    assert await bench.stored() == DATA
    follower.close()


async def test_what_was_left_is_gone_on_from(bench: Bench) -> None:
    owner = await begun(bench, 700)
    owner.close()
    heir = await bench.partials.open(DIGEST)
    assert (heir.state, heir.total, heir.watermark, heir.origin) == (State.OWNED, len(DATA), 700, ORIGIN)
    assert await heir.read(0, 700) == DATA[:700]
    heir.close()


async def test_release_gives_up_the_lock_and_keeps_the_bytes(bench: Bench) -> None:
    owner = await begun(bench, 700)
    follower = await bench.partials.open(DIGEST)
    owner.release()
    await follower.poll()
    assert follower.state is State.OWNED
    assert await owner.read(0, 700) == DATA[:700]
    owner.close()
    follower.close()


async def test_a_commit_just_before_the_lock_is_won_is_not_overlooked(bench: Bench) -> None:
    owner = await begun(bench, 700)
    follower = await bench.partials.open(DIGEST)
    await owner.append([DATA[700:]])
    await owner.commit()
    owner.close()  # the lock is free now: taking over would download all of it again
    await follower.poll()
    assert (follower.state, follower.watermark) == (State.COMMITTED, len(DATA))
    assert await follower.read(0, len(DATA)) == DATA
    follower.close()
    assert bench.files() == set()


async def test_a_follower_that_never_saw_the_bytes_finds_the_committed_blob(bench: Bench) -> None:
    owner = await bench.partials.open(DIGEST)
    follower = await bench.partials.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA])
    await owner.commit()
    owner.close()
    await follower.poll()
    assert follower.state is State.COMMITTED
    assert await follower.read(0, len(DATA)) == DATA
    follower.close()


@pytest.mark.parametrize("state", [State.UNCACHED, State.FAILED, State.GONE])
async def test_followers_are_told_how_it_ended_and_nothing_is_left(bench: Bench, state: State) -> None:
    owner = await begun(bench, 700)
    follower = await bench.partials.open(DIGEST)
    await owner.abandon(state)
    owner.close()
    await follower.poll()
    assert follower.state is state
    assert bench.files() == set()
    assert await follower.read(0, 700) == DATA[:700]
    follower.close()
    anew = await bench.partials.open(DIGEST)
    assert (anew.state, anew.total, anew.watermark) == (State.OWNED, None, 0)
    anew.close()


@pytest.mark.parametrize("state", [State.UNCACHED, State.FAILED, State.GONE])
async def test_a_follower_that_never_saw_the_bytes_is_promised_none_that_it_cannot_read(
    bench: Bench, state: State
) -> None:
    owner = await bench.partials.open(DIGEST)
    follower = await bench.partials.open(DIGEST)
    await owner.begin(len(DATA), ORIGIN)
    await owner.append([DATA[:700]])
    await owner.abandon(state)
    owner.close()
    await follower.poll()
    assert follower.state is state
    assert len(await follower.read(0, len(DATA))) == follower.watermark
    follower.close()


async def test_a_late_follower_does_not_disturb_who_began_anew(bench: Bench) -> None:
    owner = await begun(bench, 700)
    late = await bench.partials.open(DIGEST)
    await owner.abandon(State.GONE)
    owner.close()
    anew = await begun(bench, 20)
    await late.poll()
    assert late.state is State.GONE
    late.close()
    follower = await bench.partials.open(DIGEST)
    assert (follower.state, follower.watermark) == (State.FOLLOWED, 20)
    follower.close()
    anew.close()


async def test_a_change_of_origin_is_kept(bench: Bench) -> None:
    owner = await begun(bench, 700)
    await owner.begin(len(DATA), Origin("quay library/nginx", ""))
    owner.close()
    heir = await bench.partials.open(DIGEST)
    assert (heir.watermark, heir.origin) == (700, Origin("quay library/nginx", ""))
    heir.close()


async def test_a_blob_without_bytes_can_be_committed(bench: Bench) -> None:
    owner = await bench.partials.open(Digest.of(b""))
    await owner.begin(0, ORIGIN)
    follower = await bench.partials.open(Digest.of(b""))
    assert follower.total == 0
    await owner.commit()
    assert await bench.blobs.stat(Digest.of(b"")) == 0
    owner.close()
    follower.close()


async def test_closing_twice_is_harmless(bench: Bench) -> None:
    owner = await begun(bench, 1)
    owner.release()
    owner.close()
    owner.close()
