"""Many images of a few tiny blobs: what is paid per request and per row, not per byte."""

from collections.abc import Mapping

from benchmarks import usage
from benchmarks.client import Ask
from benchmarks.content import Content
from benchmarks.servers import Contestant
from benchmarks.sheet import IMAGES, MeasureError, Quantity, Sheet
from benchmarks.stage import Stage
from tests.support import images
from tests.support.images import Image

CONNECTIONS = 10
COLD = "tiny images, cold"
WARM = "tiny images, warm"
# Seconds that a cold round may take: a slow server then pulls fewer images.
_LIMIT = 40.0
_REPOSITORIES = 50
_LAYERS = 4


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure images a second over ten connections; each round pulls images that no round has pulled."""
    made = [_write(stage.content, number) for number in range(stage.options.images)]
    rounds = stage.options.rounds
    batches = [made[turn::rounds] for turn in range(rounds)]
    everyone = [*stage.started(stage.product()), *stage.proxies()]
    pulled: dict[tuple[str, int], int] = {}

    def cold(contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
        chains = _chains(contestant, batches[turn])
        done = stage.driver.load(contestant, chains, connections=CONNECTIONS, limit=_LIMIT)
        pulled[contestant.name, turn] = done.chains
        usage.settle(contestant.pid)
        return {IMAGES: done.chains / done.seconds}

    def warm(contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
        count = pulled.get((contestant.name, turn), 0)
        if not count:
            raise MeasureError("it pulled no image cold")
        chains = _chains(contestant, batches[turn][:count])
        done = stage.driver.load(contestant, chains, connections=CONNECTIONS, seconds=stage.options.seconds)
        return {IMAGES: done.chains / done.seconds}

    sheet.compare(COLD, everyone, cold)
    sheet.compare(WARM, everyone, warm)


def _write(content: Content, number: int) -> tuple[str, str, Image]:
    layers = [f"layer {layer} of image {number}\n".encode() for layer in range(_LAYERS)]
    image = images.of_blobs(f'{{"image": {number}}}'.encode(), layers)
    repository, tag = f"tiny/{number % _REPOSITORIES}", str(number)
    content.add(image, repository, tag)
    return repository, tag, Image(image.manifest, image.media_type, dict.fromkeys(image.blobs, b""))


def _chains(contestant: Contestant, batch: list[tuple[str, str, Image]]) -> list[list[Ask]]:
    return [
        [
            Ask("GET", contestant.path("manifests", tag, repository)),
            *(Ask("GET", contestant.path("blobs", digest, repository)) for digest in image.blobs),
        ]
        for repository, tag, image in batch
    ]
