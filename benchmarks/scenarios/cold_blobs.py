"""A blob that the server has to fetch first: how soon it begins, how fast it comes, what it costs."""

import statistics
from collections.abc import Mapping
from functools import partial

from benchmarks import servers, usage
from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import CPU, FACTOR, FIRST_BYTE, THROUGHPUT, Quantity, Sheet, counted
from benchmarks.stage import Stage

CLIENTS = (1, 8)
WORK = "cold blob of 64 MiB, {}"
# Blobs of a round, one after the other: one alone takes a tenth of a second.
_REPEATS = 3


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure with one client and with eight that begin at once; nginx is the upstream itself, asked directly."""
    rounds = stage.options.rounds
    digests = {
        clients: [
            [
                stage.content.noise("bench", (clients * 100 + turn) * 10 + repeat, stage.options.blob)
                for repeat in range(_REPEATS)
            ]
            for turn in range(rounds)
        ]
        for clients in CLIENTS
    }
    everyone = [*stage.started(stage.product()), *stage.proxies(), *stage.nginx()]
    for clients in CLIENTS:
        sheet.compare(WORK.format(counted(clients)), everyone, partial(_measure, stage, digests[clients], clients))


def _measure(
    stage: Stage, digests: list[list[str]], clients: int, contestant: Contestant, turn: int
) -> Mapping[Quantity, float]:
    usage.settle(contestant.pid)
    before = usage.cpu_seconds(contestant.pid)
    stage.asked(contestant)
    sent, seconds, first = 0, 0.0, []
    for digest in digests[turn]:
        chains = [[Ask("GET", contestant.path("blobs", digest))]] * clients
        done = stage.driver.load(contestant, chains, connections=clients)
        sent += done.bytes
        seconds += done.seconds
        first.append(done.first.median)
    usage.settle(contestant.pid)
    used = usage.cpu_seconds(contestant.pid) - before
    figures = {
        THROUGHPUT: sent / seconds / 1e9,
        FIRST_BYTE: statistics.median(first) * 1000,
        CPU: used / (sent / 1e9),
    }
    if contestant.name != servers.NGINX:
        fetched = sum(asked.size for asked in stage.asked(contestant) if "/blobs/" in asked.path)
        figures[FACTOR] = fetched / (len(digests[turn]) * stage.options.blob)
    return figures
