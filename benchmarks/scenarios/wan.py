"""An upstream far away: the latency of a continent, and a limit on what one connection carries."""

from collections.abc import Mapping
from functools import partial

from benchmarks import servers, usage
from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import FACTOR, SECONDS, Quantity, Sheet
from benchmarks.stage import Stage
from tests.support import images

WORK = "5 layers over a slow link, 3 at a time"
_LAYERS = 5
_AT_A_TIME = 3
# It takes long, and the link varies little.
_ROUNDS = 2


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure how long a cold image takes; the product by its default, and where its rule allows parallel ranges."""
    rounds = min(_ROUNDS, stage.options.rounds)
    batches = [_write(stage, turn) for turn in range(rounds)]
    ours = [
        stage.product(servers.OURS, far=True),
        stage.product(servers.OURS_PARALLEL, far=True, rule={"parallel_ranges": 4}),
    ]
    everyone = [*stage.started(*ours), *stage.proxies(far=True)]
    sheet.compare(WORK, everyone, partial(_measure, stage, batches), rounds=rounds)


def _write(stage: Stage, turn: int) -> list[str]:
    """Add an image under the tag of the round, and return the digests of its layers."""
    layers = [images.noise(turn * _LAYERS + layer, stage.options.layer) for layer in range(_LAYERS)]
    image = images.of_blobs(b"{}", layers)
    stage.content.add(image, "bench", str(turn))
    return image.layers


def _measure(stage: Stage, batches: list[list[str]], contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
    # As clients do; the product learns the sizes of the layers from it.
    stage.driver.load(contestant, [[Ask("GET", contestant.path("manifests", str(turn)))]])
    stage.asked(contestant)
    chains = [[Ask("GET", contestant.path("blobs", digest))] for digest in batches[turn]]
    done = stage.driver.load(contestant, chains, connections=_AT_A_TIME)
    usage.settle(contestant.pid)
    fetched = sum(asked.size for asked in stage.asked(contestant) if "/blobs/" in asked.path)
    return {SECONDS: done.seconds, FACTOR: fetched / (stage.options.layer * _LAYERS)}
