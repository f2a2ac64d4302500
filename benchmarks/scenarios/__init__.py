"""The scenarios by the names under which they can be run, in the order of a whole run."""

from collections.abc import Callable, Mapping

from benchmarks.scenarios import (
    cold_blobs,
    herd,
    memory,
    operations,
    ranges,
    starting,
    tiny_images,
    wan,
    warm_blobs,
    warm_manifests,
)
from benchmarks.sheet import Sheet
from benchmarks.stage import Stage

SCENARIOS: Mapping[str, Callable[[Stage, Sheet], None]] = {
    "manifests": warm_manifests.run,
    "blobs": warm_blobs.run,
    "tls": warm_blobs.run_tls,
    "cold": cold_blobs.run,
    "herd": herd.run,
    "tiny": tiny_images.run,
    "memory": memory.run,
    "ranges": ranges.run,
    "operations": operations.run,
    "wan": wan.run,
    "start": starting.run,
}
