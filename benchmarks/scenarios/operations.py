"""What a pull of an image that is cached still asks of the upstream: nothing, while its tag is fresh."""

from collections.abc import Mapping
from functools import partial

from benchmarks import usage
from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import ASKED, P95, Quantity, Sheet
from benchmarks.stage import Stage
from tests.support import images
from tests.support.images import Image

WORK = "pull of a cached image by tag"
_PULLS = 100
_LAYERS = 5


def run(stage: Stage, sheet: Sheet) -> None:
    """Count the requests of a hundred pulls after the first."""
    image = images.of_blobs(b'{"os": "linux"}', [images.noise(seed, 64 << 10) for seed in range(_LAYERS)])
    stage.content.add(image, "bench", "1")
    everyone = [*stage.started(stage.product()), *stage.proxies()]
    sheet.compare(WORK, everyone, partial(_measure, stage, image), rounds=1)


def _measure(stage: Stage, image: Image, contestant: Contestant, _: int) -> Mapping[Quantity, float]:
    chain = [
        Ask("HEAD", contestant.path("manifests", "1")),
        Ask("GET", contestant.path("manifests", image.digest)),
        *(Ask("GET", contestant.path("blobs", digest)) for digest in image.blobs),
    ]
    stage.driver.load(contestant, [chain])
    usage.settle(contestant.pid)
    stage.asked(contestant)
    done = stage.driver.load(contestant, [chain] * _PULLS)
    usage.settle(contestant.pid)
    return {ASKED: len(stage.asked(contestant)) / _PULLS, P95: done.chain.p95 * 1000}
