"""What a run is told: by the command line, and by the environment for what describes a machine."""

import argparse
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Options:
    """How long and how large the measurements are. Sizes are bytes, times seconds, rates bytes a second.

    `layer` is one of the layers behind the slow link of `rtt` and `rate`; `rows` are the tags, manifests and proofs of
    the large store. `workers` is given to the product, and to nginx, only if it is set.
    """

    scenarios: tuple[str, ...]
    quick: bool
    rounds: int
    seconds: float
    workers: int | None
    blob: int
    images: int
    rows: int
    layer: int
    rtt: float
    rate: float
    distribution: str | None

    @property
    def whole(self) -> bool:
        """Tell whether the run measures everything at full size."""
        return not self.scenarios and not self.quick


def parse(arguments: Sequence[str], names: Collection[str]) -> Options:
    """Return the options; ends the program with a message if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the product beside other programs on the same content, and print the ratios.",
        epilog="environment: BENCH_DISTRIBUTION=/path/registry, BENCH_ROWS, BENCH_RTT (seconds), BENCH_RATE (bytes a "
        "second and connection); PULLTHROUGH_* reaches the product",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(names)}; all without")
    parser.add_argument("--rounds", type=int, help="turns of each measurement (3; 1 with --quick)")
    parser.add_argument("--seconds", type=float, help="length of timed measurements (2; 0.5 with --quick)")
    parser.add_argument("--workers", type=int, help="server.workers of the product, and workers of nginx")
    parser.add_argument("--quick", action="store_true", help="small and short: does it work at all?")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.scenarios) - set(names))
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(names)}")
    quick: bool = chosen.quick
    return Options(
        scenarios=tuple(chosen.scenarios),
        quick=quick,
        rounds=chosen.rounds or (1 if quick else 3),
        seconds=chosen.seconds or (0.5 if quick else 2.0),
        workers=chosen.workers,
        blob=64 * MIB,
        images=200 if quick else 5000,
        rows=int(os.environ.get("BENCH_ROWS", "20000" if quick else "1000000")),
        layer=20_000_000 if quick else 40_000_000,
        rtt=float(os.environ.get("BENCH_RTT", "0.05")),
        rate=float(os.environ.get("BENCH_RATE", "10e6")),
        distribution=os.environ.get("BENCH_DISTRIBUTION") or None,
    )
