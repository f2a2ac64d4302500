"""Small answers that the server has had before: what `docker pull` of a known image mostly asks."""

from collections.abc import Mapping
from functools import partial

from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import REQUESTS, Quantity, Sheet
from benchmarks.stage import Stage
from tests.support import images

CONNECTIONS = 32
GET_BY_DIGEST = "warm manifest, GET by digest"
GET_BY_TAG = "warm manifest, GET by tag"
HEAD_BY_DIGEST = "warm manifest, HEAD by digest"
HEAD_BY_TAG = "warm manifest, HEAD by tag"
SMALL_BLOB = "warm blob of 1 KiB"


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure requests a second over 32 connections."""
    image = images.of_blobs(b"{}", [images.noise(number, 1 << 10) for number in range(10)])
    stage.content.add(image, "bench", "1")
    registries = [*stage.plain(image), *stage.proxies()]
    everyone = [*stage.started(stage.product()), *stage.aiohttp(), *registries]
    works = [
        (GET_BY_DIGEST, "GET", "manifests", image.digest),
        (GET_BY_TAG, "GET", "manifests", "1"),
        (HEAD_BY_DIGEST, "HEAD", "manifests", image.digest),
        (HEAD_BY_TAG, "HEAD", "manifests", "1"),
    ]
    for work, method, kind, reference in works:
        sheet.compare(work, everyone, partial(_measure, stage, method, kind, reference))
    small = partial(_measure, stage, "GET", "blobs", image.layers[0])
    sheet.compare(SMALL_BLOB, [*everyone, *stage.nginx()], small)


def _measure(
    stage: Stage, method: str, kind: str, reference: str, contestant: Contestant, _: int
) -> Mapping[Quantity, float]:
    path = contestant.path(kind, reference)
    stage.driver.load(contestant, [[Ask("GET", path)]])
    seconds = stage.options.seconds
    rate = stage.driver.requests_per_second(contestant, path, connections=CONNECTIONS, seconds=seconds, method=method)
    return {REQUESTS: rate}
