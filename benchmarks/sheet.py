"""What was measured: each quantity of each work on each server, round by round."""

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.servers import OURS, Contestant


@dataclass(frozen=True)
class Quantity:
    """What a figure counts; `more` tells whether more is better."""

    unit: str
    more: bool
    digits: int = 2


REQUESTS = Quantity("requests/s", more=True, digits=0)
IMAGES = Quantity("images/s", more=True, digits=0)
THROUGHPUT = Quantity("GB/s", more=True)
CPU = Quantity("CPU-s/GB", more=False)
FIRST_BYTE = Quantity("ms to first byte", more=False, digits=1)
P95 = Quantity("ms p95", more=False, digits=1)
SECONDS = Quantity("s", more=False)
GETS = Quantity("upstream GETs", more=False, digits=0)
FACTOR = Quantity("x bytes from upstream", more=False)
ASKED = Quantity("upstream requests/pull", more=False)
MEMORY = Quantity("MB resident", more=False, digits=0)
BUFFERS = Quantity("MB in sockets", more=False, digits=0)

# What starting and driving programs ends in when one of them is ill; other exceptions are faults of the harness.
FAILURES = (AssertionError, OSError, RuntimeError, subprocess.SubprocessError)

Measure = Callable[[Contestant, int], Mapping[Quantity, float]]


class MeasureError(RuntimeError):
    """A server could not do the work; the message says what came instead."""


@dataclass
class Line:
    """One quantity of one work: the figures of each server by its name, in the order of the rounds."""

    scenario: str
    work: str
    quantity: Quantity
    values: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """Return the median of a server, None if it has none."""
        values = self.values.get(name)
        return statistics.median(values) if values else None

    def ratios(self, name: str, peer: str) -> list[float]:
        """Return the ratios of a server's figures to those of a peer in the same round."""
        pairs = zip(self.values.get(name, ()), self.values.get(peer, ()), strict=False)
        return [own / other for own, other in pairs if other]


class Sheet:
    """All lines of a run, in the order of measuring, and what could not be measured with the reason.

    `strains` is by scenario what share of a core the load client needed at most.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.lines: list[Line] = []
        self.failures: dict[tuple[str, str], str] = {}
        self.scenario = ""
        self.strains: dict[str, float] = {}

    def line(self, work: str, quantity: Quantity) -> Line:
        """Return the line of a quantity; an empty one if nothing was measured."""
        for line in self.lines:
            if line.work == work and line.quantity == quantity:
                return line
        return Line(self.scenario, work, quantity)

    def fail(self, work: str, name: str, reason: str) -> None:
        """Keep why a server has no figure."""
        self.failures[work, name] = reason
        print(f"  {name}: {work}: {reason}", file=sys.stderr)

    def compare(
        self, work: str, contestants: Sequence[Contestant], measure: Measure, *, rounds: int | None = None
    ) -> None:
        """Measure all servers in turns, so that what else the machine does hits all alike.

        A server that fails is left out of the further rounds, and named with the reason.
        """
        for turn in range(rounds or self.rounds):
            for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
                if (work, contestant.name) in self.failures:
                    continue
                try:
                    figures = measure(contestant, turn)
                except FAILURES as error:
                    reason = contestant.ended() or (str(error).strip().splitlines() or [repr(error)])[0]
                    self.fail(work, contestant.name, reason)
                    continue
                self._keep(work, contestant.name, figures)

    def _keep(self, work: str, name: str, figures: Mapping[Quantity, float]) -> None:
        for quantity, value in figures.items():
            line = self.line(work, quantity)
            if line not in self.lines:
                self.lines.append(line)
            line.values.setdefault(name, []).append(value)
        told = ", ".join(f"{value:.{quantity.digits}f} {quantity.unit}" for quantity, value in figures.items())
        print(f"  {work}: {name}: {told}", file=sys.stderr)


def spread(values: Sequence[float], digits: int) -> str:
    """Return median and ends of figures as people read them."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def counted(clients: int) -> str:
    """Return so many clients in words."""
    return f"{clients} client{'s' if clients > 1 else ''}"


def is_ours(name: str) -> bool:
    """Tell whether a server is the product, in whatever form."""
    return name.startswith(OURS)
