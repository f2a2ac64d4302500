"""A large blob that the server holds, to few and to many clients, plain and over TLS."""

from collections.abc import Mapping
from functools import partial

from benchmarks import usage
from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import CPU, THROUGHPUT, Quantity, Sheet, counted
from benchmarks.stage import Stage
from tests.support import images

CLIENTS = (1, 8, 32)
PLAIN = "warm blob of 64 MiB, {}"
SECURE = "warm blob of 64 MiB over TLS, {}"


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure throughput and its cost without TLS."""
    _compare(stage, sheet, PLAIN, tls=False)


def run_tls(stage: Stage, sheet: Sheet) -> None:
    """Measure the same with TLS."""
    _compare(stage, sheet, SECURE, tls=True)


def _compare(stage: Stage, sheet: Sheet, work: str, *, tls: bool) -> None:
    image = images.of_blobs(b"{}", [images.noise(1, stage.options.blob)])
    stage.content.add(image, "bench", "1")
    everyone = [*stage.products(tls=tls), *stage.nginx(tls=tls), *stage.plain(image, tls=tls)]
    for clients in CLIENTS:
        sheet.compare(work.format(counted(clients)), everyone, partial(_measure, stage, image.layers[0], clients))


def _measure(stage: Stage, digest: str, clients: int, contestant: Contestant, _: int) -> Mapping[Quantity, float]:
    chains = [[Ask("GET", contestant.path("blobs", digest))]]
    stage.driver.load(contestant, chains)
    before = usage.cpu_seconds(contestant.pid)
    done = stage.driver.load(contestant, chains, connections=clients, seconds=stage.options.seconds)
    used = usage.cpu_seconds(contestant.pid) - before
    return {THROUGHPUT: done.bytes / done.seconds / 1e9, CPU: used / (done.bytes / 1e9)}
