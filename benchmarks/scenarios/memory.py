"""Memory while many clients read slowly, which is what clients far away do."""

import time
from collections.abc import Mapping
from functools import partial

from benchmarks import usage
from benchmarks.client import Ask, Job
from benchmarks.servers import Contestant
from benchmarks.sheet import BUFFERS, MEMORY, Quantity, Sheet
from benchmarks.stage import Stage

STREAMS = 200
WARM = f"{STREAMS} slow streams of a warm blob"
COLD = f"{STREAMS} slow streams of a cold blob"
_RATE = 256 << 10
_SECONDS = 3.0
_SAMPLE = 0.1


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure the most memory that was resident, and what the buffers of all sockets took in the kernel, once each."""
    warm, cold = (stage.content.noise("bench", seed, stage.options.blob) for seed in range(2))
    everyone = [*stage.started(stage.product()), *stage.proxies()]
    sheet.compare(WARM, everyone, partial(_measure_warm, stage, warm), rounds=1)
    sheet.compare(COLD, everyone, partial(_measure, stage, cold), rounds=1)


def _measure_warm(stage: Stage, digest: str, contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
    stage.driver.load(contestant, [[Ask("GET", contestant.path("blobs", digest))]])
    return _measure(stage, digest, contestant, turn)


def _measure(stage: Stage, digest: str, contestant: Contestant, _: int) -> Mapping[Quantity, float]:
    chains = [[Ask("GET", contestant.path("blobs", digest))]] * STREAMS
    usage.settle(contestant.pid)
    usage.forget_peak(contestant.pid)
    before = buffers = usage.socket_bytes()
    job = Job(contestant.port, chains, STREAMS, _SECONDS, rate=_RATE)
    with stage.driver.loading(job) as running:
        while running.process.status is None:
            buffers = max(buffers, usage.socket_bytes())
            time.sleep(_SAMPLE)
    running.done()
    return {MEMORY: usage.peak_bytes(contestant.pid) / 1e6, BUFFERS: (buffers - before) / 1e6}
