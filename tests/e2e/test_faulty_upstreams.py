"""Upstreams that break off, stall and lie: no wrong byte is kept, and none completes an answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.downloads import download
from tests.support.faulty_registry import Fault, Faulty, FaultyRegistry
from tests.support.images import digest_of
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20
CONTENT = images.noise(5, 3 * MIB + 5)
IMAGE = images.of_blobs(b"{}", [CONTENT])
DIGEST = IMAGE.layers[0]
PATH = f"/v2/up/app/blobs/{DIGEST}"


def impatient(upstream: FaultyRegistry) -> dict[str, Any]:
    """Return settings under which a stalled transfer is given up soon and a failed one may be tried again at once."""
    return {
        "upstreams": {"stall_timeout": "300ms", "negative_ttl": 0},
        "fills": {"retry_delay": "10ms", "failed_ttl": 0},
        "rules": [{"prefix": "up", "upstream": upstream.url}],
    }


@pytest.mark.parametrize(
    "faults",
    [
        [Faulty(Fault.CUT, at=0)],
        [Faulty(Fault.CUT, at=1)],
        [Faulty(Fault.CUT, at=MIB), Faulty(Fault.CUT, at=2 * MIB + 1), Faulty(Fault.CUT, at=len(CONTENT) - 1)],
        [Faulty(Fault.STALL, at=MIB)],
        [Faulty(Fault.STALL, at=len(CONTENT) - 1)],
        [Faulty(Fault.CUT, at=MIB), Faulty(Fault.IGNORED_RANGE)],
    ],
    ids=["cut before the first byte", "cut after one byte", "cut thrice", "stalled", "stalled at the last byte", "200"],
)
async def test_a_transfer_that_breaks_off_is_continued_unseen_by_the_client(
    faults: list[Faulty], tmp_path: Path
) -> None:
    async with FaultyRegistry(pace=64 * MIB) as upstream:
        upstream.add("app", "1", IMAGE)
        upstream.faults[DIGEST].extend(faults)
        with Pullthrough(tmp_path / "proxy", impatient(upstream)) as proxy:
            done = await asyncio.to_thread(download, proxy.port, PATH, CONTENT)
            stored = proxy.stored()

    assert (done.status, done.received, done.right, done.whole) == (200, len(CONTENT), True, True)
    assert digest_of(stored[DIGEST].read_bytes()) == DIGEST
    assert not upstream.faults[DIGEST]


@pytest.mark.parametrize(
    "faults",
    [
        [Faulty(Fault.WRONG_BYTES, at=0)],
        [Faulty(Fault.WRONG_BYTES, at=len(CONTENT) - 1)],
        [Faulty(Fault.TOO_SHORT, at=MIB)],
        [Faulty(Fault.TOO_SHORT, at=len(CONTENT) - 1)],
        [Faulty(Fault.TOO_LONG)],
        [Faulty(Fault.HTML)],
        [Faulty(Fault.CUT, at=MIB), Faulty(Fault.WRONG_OFFSET)],
    ],
    ids=["wrong", "last byte wrong", "short", "one byte short", "long", "portal", "shifted"],
)
async def test_wrong_bytes_are_not_kept_and_complete_no_answer(faults: list[Faulty], tmp_path: Path) -> None:
    async with FaultyRegistry(pace=64 * MIB) as upstream:
        upstream.add("app", "1", IMAGE)
        upstream.faults[DIGEST].extend(faults)
        with Pullthrough(tmp_path / "proxy", impatient(upstream)) as proxy:
            done = await asyncio.to_thread(download, proxy.port, PATH, CONTENT)
            assert not upstream.faults[DIGEST], "the faults were met"
            assert done.status != 200 or not done.whole or (done.right and done.received == len(CONTENT))
            assert all(digest_of(path.read_bytes()) == digest for digest, path in proxy.stored().items())

            # A request that comes while the failed fill is cleared away is cut off with it and has to be repeated.
            await asyncio.to_thread(
                proxy.process.wait_until, lambda: proxy.events("fill.failed") != [], "the fill has failed"
            )
            healed = await asyncio.to_thread(download, proxy.port, PATH, CONTENT)
            stored = proxy.stored()

    assert (healed.status, healed.received, healed.right, healed.whole) == (200, len(CONTENT), True, True)
    assert digest_of(stored[DIGEST].read_bytes()) == DIGEST


async def test_a_break_costs_no_more_than_what_was_not_read_yet(tmp_path: Path) -> None:
    async with FaultyRegistry() as upstream:
        upstream.add("app", "1", IMAGE)
        upstream.faults[DIGEST].append(Faulty(Fault.CUT, at=MIB))
        with Pullthrough(tmp_path / "proxy", impatient(upstream)) as proxy:
            done = await asyncio.to_thread(download, proxy.port, PATH, CONTENT)

    assert (done.status, done.right, done.whole) == (200, True, True)
    first, second = [asked.start for asked in upstream.journal if asked.kind == "blobs" and asked.method == "GET"]
    assert first == 0
    assert MIB // 2 <= second <= MIB
