"""Compare Pullthrough with docker-registry in proxy mode: ``python -m benchmarks``.

Both stand before the same upstream, a docker-registry, on this machine, and are measured in turns by the same client.
Upstream, server and client share the cores: compare the columns of one run, never the figures of two machines.
"""

import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.load import load
from tests.support import images, parts
from tests.support.docker_registry import DockerRegistry
from tests.support.images import Image
from tests.support.pullthrough import Pullthrough

ROUNDS = 3
SECONDS = 3.0
MIB = 1 << 20
WIDTH = 110
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Candidate:
    """A running server: where repositories of the upstream are found on it, and whose CPU time counts."""

    name: str
    port: int
    prefix: str
    pid: int

    def path(self, kind: str, reference: str) -> str:
        """Return the path of a manifest or blob of the benchmark's repository."""
        return f"/v2/{self.prefix}bench/{kind}/{reference}"

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mebibytes(self) -> float:
        """Return the most memory that the server ever had resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@dataclass(frozen=True)
class Work:
    """A row of the table: `measure` does it on a candidate in a round and returns the figure, more being better."""

    name: str
    unit: str
    measure: Callable[[Candidate, int], Awaitable[float]]


def warm(name: str, kind: str, reference: str, clients: int) -> Work:
    """Return the work of getting one object, which the server holds already, again and again."""
    by_size = kind == "blobs"

    async def measure(candidate: Candidate, _: int) -> float:
        path = candidate.path(kind, reference)
        await load(candidate.port, path, clients=1)
        done = await load(candidate.port, path, clients=clients, seconds=SECONDS)
        return done.gigabytes_per_second if by_size else done.requests_per_second

    return Work(name, "GB/s" if by_size else "requests/s", measure)


def cold(name: str, digests: list[str], clients: int) -> Work:
    """Return the work of getting a blob that the server does not hold yet, by several clients at once."""

    async def measure(candidate: Candidate, turn: int) -> float:
        done = await load(candidate.port, candidate.path("blobs", digests[turn]), clients=clients)
        return done.gigabytes_per_second

    return Work(name, "GB/s", measure)


async def compare(works: list[Work], candidates: list[Candidate]) -> list[tuple[Work, dict[str, float]]]:
    """Return the median of each work on each candidate; they take turns, so that drift hits all alike."""
    rows = []
    for work in works:
        figures: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
        for turn in range(ROUNDS):
            for candidate in candidates if turn % 2 else candidates[::-1]:
                figures[candidate.name].append(await work.measure(candidate, turn))
        rows.append((work, {name: statistics.median(values) for name, values in figures.items()}))
    return rows


def machine() -> str:
    """Return what the figures depend on."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown processor",
    )
    memory = int(_lines("/proc/meminfo")[0].split()[1]) / (1 << 20)
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def report(rows: list[tuple[Work, dict[str, float]]], candidates: list[Candidate], notes: list[str]) -> None:
    """Print the table, and keep it under ``benchmarks/results``."""
    ours, theirs = candidates
    table = Table(title=f"median of {ROUNDS}; ratio: {ours.name} / {theirs.name}")
    for column in ("work", ours.name, theirs.name, "unit", "ratio"):
        table.add_column(column, justify="left" if column in {"work", "unit"} else "right", no_wrap=True)
    for work, figures in rows:
        digits = 2 if work.unit == "GB/s" else 0
        values = [f"{figures[candidate.name]:.{digits}f}" for candidate in candidates]
        table.add_row(work.name, *values, work.unit, f"{figures[ours.name] / figures[theirs.name]:.2f}")
    today = datetime.now(UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{today}.txt").open("w") as file:
        for console in (Console(width=WIDTH), Console(file=file, width=WIDTH)):
            console.print(f"{today}, {machine()}", highlight=False, soft_wrap=True)
            console.print(table)
            for note in notes:
                console.print(note, highlight=False, soft_wrap=True)


def main() -> None:
    """Start everything, measure, end everything."""
    try:
        toolbox = parts.obtain(parts.REGISTRY)
    except parts.UnobtainableError as error:
        sys.exit(f"nothing to compare with: {error}")
    with tempfile.TemporaryDirectory(prefix="pullthrough-bench-") as name:
        folder = Path(name)
        upstream = DockerRegistry(toolbox, folder / "upstream-store", folder / "upstream")
        upstream.start()
        rival = DockerRegistry(toolbox, folder / "rival-store", folder / "rival", proxy_of=upstream.url)
        settings = {"log": {"level": "warning"}, "rules": [{"prefix": "up", "upstream": upstream.url}]}
        with Pullthrough(folder / "ours", settings) as server:
            rival.start()
            try:
                measure(upstream, rival, server)
            finally:
                rival.stop()
                upstream.stop()


def measure(upstream: DockerRegistry, rival: DockerRegistry, server: Pullthrough) -> None:
    """Do all works on both servers, and report."""
    ours = Candidate("pullthrough", server.port, "up/", server.process.pid)
    theirs = Candidate("docker-registry", rival.port, "", rival.pid)
    candidates = [ours, theirs]
    image = images.of_blobs(b"{}", [images.noise(0, 64 * MIB)])
    images.push(image, upstream.url, "bench", "1")
    alone, shared = (_blobs(upstream, seed) for seed in (1, 2))
    works = [
        warm("warm manifest by digest, 16 clients", "manifests", image.digest, 16),
        warm("warm manifest by tag, 16 clients", "manifests", "1", 16),
        warm("warm blob of 64 MiB, 1 client", "blobs", image.layers[0], 1),
        warm("warm blob of 64 MiB, 8 clients", "blobs", image.layers[0], 8),
        cold("cold blob of 128 MiB, 1 client", alone, 1),
        cold("cold blob of 128 MiB, 8 clients", shared, 8),
    ]
    rows = uvloop.run(compare(works, candidates))
    total, own = upstream.blob_gets(), upstream.blob_gets(ours.name)
    gets = {
        ours.name: [own[digest] for digest in shared],
        theirs.name: [total[digest] - own[digest] for digest in shared],
    }
    notes = [
        f"{candidate.name}: {candidate.cpu_seconds():.1f} s of CPU time in all, at most "
        f"{candidate.peak_mebibytes():.0f} MiB of memory; upstream GETs for each blob that 8 clients pulled cold: "
        f"{gets[candidate.name]}"
        for candidate in candidates
    ]
    notes.append("upstream, server and client share the cores; the client is one Python process")
    report(rows, candidates, notes)


def _blobs(upstream: DockerRegistry, seed: int) -> list[str]:
    found = []
    for turn in range(ROUNDS):
        image: Image = images.of_blobs(b"{}", [images.noise(seed * 100 + turn, 128 * MIB)])
        images.push(image, upstream.url, "bench", f"cold-{seed}-{turn}")
        found += image.layers
    return found


if __name__ == "__main__":
    main()
