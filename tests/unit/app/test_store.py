"""The store as the product opens it."""

import asyncio
import threading
from pathlib import Path

from proxy.app.store import open_store
from proxy.core.fills.ports import Origin, State
from proxy.model.digest import Digest
from tests.support.background import started

DIGESTS = [Digest.of(bytes([number])) for number in range(64)]


async def test_readers_do_not_wait_for_a_device_that_is_slow_to_take_what_is_fetched(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = threading.Event()
        owners = [await store.partials.open(digest) for digest in DIGESTS]
        waiting = [started(store.partials.writers.run(device.wait)) for _ in DIGESTS]
        writing = [started(owner.begin(1, Origin())) for owner in owners]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(20):
                assert await store.blobs.stat(DIGESTS[0]) is None
                assert await store.blobs.open(DIGESTS[0]) is None
            assert not any(one.done() for one in writing)
        finally:
            device.set()
        await asyncio.gather(*waiting, *writing)
        for owner in owners:
            await owner.abandon(State.GONE)
            owner.close()
