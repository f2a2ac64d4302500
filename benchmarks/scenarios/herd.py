"""Fifty clients that want one blob, which nobody has had before, at the same moment."""

from collections.abc import Mapping
from functools import partial

from benchmarks import usage
from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import FACTOR, GETS, P95, THROUGHPUT, Quantity, Sheet
from benchmarks.stage import Stage

CLIENTS = 50
WORK = f"cold blob of 64 MiB, herd of {CLIENTS}"


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure what the herd costs the upstream, and when its last but two are served."""
    digests = [stage.content.noise("bench", turn, stage.options.blob) for turn in range(stage.options.rounds)]
    everyone = [*stage.started(stage.product()), *stage.proxies()]
    sheet.compare(WORK, everyone, partial(_measure, stage, digests))


def _measure(stage: Stage, digests: list[str], contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
    stage.asked(contestant)
    chains = [[Ask("GET", contestant.path("blobs", digests[turn]))]] * CLIENTS
    done = stage.driver.load(contestant, chains, connections=CLIENTS)
    usage.settle(contestant.pid)
    gets = [asked for asked in stage.asked(contestant) if asked.method == "GET" and digests[turn] in asked.path]
    return {
        GETS: len(gets),
        FACTOR: sum(asked.size for asked in gets) / stage.options.blob,
        P95: done.whole.p95 * 1000,
        THROUGHPUT: done.bytes / done.seconds / 1e9,
    }
