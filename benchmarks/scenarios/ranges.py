"""Random ranges of one layer: what SOCI, eStargz and Nydus ask when they start a container before it is pulled."""

import random
from collections.abc import Mapping
from functools import partial

from benchmarks import servers, usage
from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import FACTOR, P95, REQUESTS, THROUGHPUT, MeasureError, Quantity, Sheet
from benchmarks.stage import Stage
from tests.support import images

WARM = "random ranges of a warm blob, 8 clients"
COLD = "random ranges of a cold blob, 8 clients"
_CONNECTIONS = 8
_WARM_RANGES = 400
_COLD_RANGES = 64
_SMALLEST = 12  # 4 KiB
_LARGEST = 22  # 4 MiB


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure ranges of 4 KiB to 4 MiB, all sizes alike often by their logarithm."""
    size = stage.options.blob
    image = images.of_blobs(b"{}", [images.noise(0, size)])
    stage.content.add(image, "bench", "1")
    cold = [stage.content.noise("bench", 1 + turn, size) for turn in range(stage.options.rounds)]
    pulling = [*stage.started(stage.product()), *stage.proxies()]
    everyone = [*pulling, *stage.nginx(), *stage.plain(image)]
    sheet.compare(WARM, everyone, partial(_measure_warm, stage, image.layers[0]))
    sheet.compare(COLD, pulling, partial(_measure_cold, stage, cold))


def _measure_warm(stage: Stage, digest: str, contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
    path = contestant.path("blobs", digest)
    stage.driver.load(contestant, [[Ask("GET", path)]])
    if contestant.name in servers.PROXIES:
        usage.settle(contestant.pid)  # it keeps a blob only after it was sent
    chains = _chains(path, stage.options.blob, _WARM_RANGES, turn)
    done = stage.driver.load(contestant, chains, connections=_CONNECTIONS, seconds=stage.options.seconds)
    if done.whole_answers:
        raise MeasureError(f"answered the whole blob to {done.whole_answers} of {done.answers} ranges")
    return {
        REQUESTS: done.answers / done.seconds,
        THROUGHPUT: done.bytes / done.seconds / 1e9,
        P95: done.whole.p95 * 1000,
    }


def _measure_cold(stage: Stage, digests: list[str], contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
    stage.asked(contestant)
    chains = _chains(contestant.path("blobs", digests[turn]), stage.options.blob, _COLD_RANGES, turn)
    done = stage.driver.load(contestant, chains, connections=_CONNECTIONS)
    usage.settle(contestant.pid)
    if done.whole_answers:
        raise MeasureError(f"answered the whole blob to {done.whole_answers} of {done.answers} ranges")
    fetched = sum(asked.size for asked in stage.asked(contestant) if digests[turn] in asked.path)
    return {
        REQUESTS: done.answers / done.seconds,
        P95: done.whole.p95 * 1000,
        FACTOR: fetched / stage.options.blob,
    }


def _chains(path: str, size: int, count: int, seed: int) -> list[list[Ask]]:
    chance = random.Random(seed)  # noqa: S311 - the same ranges for every server
    chains = []
    for _ in range(count):
        length = round(2 ** chance.uniform(_SMALLEST, _LARGEST))
        first = chance.randrange(size - length)
        chains.append([Ask("GET", path, first, first + length - 1)])
    return chains
