"""The metrics of all worker processes in one answer, each series with the worker that counted it.

A series a worker keeps what Prometheus expects of counters: a worker that was started again begins at 0, which is a
reset of its own series and of no other. A sum over workers would go down instead.
"""

import asyncio
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.telemetry.metrics import Metrics

WORKER_UP: Final = "pullthrough_worker_up"
WORKER_UP_MEANING: Final = "With several workers: 1 for each that answered this scrape, else 0."

_log = structlog.get_logger(__name__)

_PATIENCE: Final = 2.0
"""Seconds that a scrape waits for a worker: one that is ill must not keep the others' metrics back."""

_SUFFIX: Final = ".metrics"


class Exposition(Protocol):
    """What answers a scrape."""

    async def render(self) -> bytes:
        """Return metrics in Prometheus' text format."""


class OwnMetrics:
    """The `Exposition` of a process that serves alone."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def render(self) -> bytes:
        """Return the metrics of this process."""
        return self._metrics.render()


class WorkersMetrics:
    """The `Exposition` of one of several workers, which share a `folder` on this machine.

    `slot` is the worker's number, a label of all its series. Workers that end leave their socket behind; nobody answers
    there, and whoever gets the number next takes its place. `forget` is for those that nobody will follow.
    """

    def __init__(self, metrics: Metrics, folder: Path, slot: int) -> None:
        """Listen to nobody yet: `serve` does."""
        self._metrics = metrics
        self._folder = folder
        self._path = _path(folder, slot)
        self._slot = slot

    async def serve(self) -> None:
        """Tell the other workers this one's metrics, until cancelled."""
        listening = await asyncio.to_thread(_listen, self._path)
        server = await asyncio.start_unix_server(self._tell, sock=listening)
        async with server:
            await server.serve_forever()

    async def render(self) -> bytes:
        """Return the metrics of all workers that answer; ``pullthrough_worker_up`` tells which do."""
        found = await asyncio.to_thread(lambda: dict(_sockets(self._folder)))
        others = {slot: path for slot, path in found.items() if slot != self._slot}
        answers = await asyncio.gather(*(_ask(path) for path in others.values()))
        texts = {self._slot: self._metrics.render(), **dict(zip(others, answers, strict=True))}
        return merge({slot: text for slot, text in texts.items() if text is not None}, expected=texts)

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._metrics.render())
        try:
            await writer.drain()
        except ConnectionError as error:
            _log.debug("metrics.not_told", error=str(error))
        finally:
            writer.close()


def forget(folder: Path, slot: int) -> None:
    """Let scrapes miss the worker that had this number no more; it has ended."""
    _path(folder, slot).unlink(missing_ok=True)


def merge(texts: Mapping[int, bytes], expected: Iterable[int] = ()) -> bytes:
    """Return the series of all workers with the label ``worker``, and which of those `expected` are there."""
    families: dict[str, Metric] = {}
    for slot in sorted(texts):
        for family in text_string_to_metric_families(texts[slot].decode()):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                merged.add_sample(sample.name, {**sample.labels, "worker": str(slot)}, sample.value)
    up = Metric(WORKER_UP, WORKER_UP_MEANING, "gauge")
    for slot in sorted({*texts, *expected}):
        up.add_sample(up.name, {"worker": str(slot)}, float(slot in texts))
    registry = CollectorRegistry()
    registry.register(_Given([*families.values(), up]))
    return generate_latest(registry)


def _path(folder: Path, slot: int) -> Path:
    return folder / f"{slot}{_SUFFIX}"


def _sockets(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob(f"*{_SUFFIX}"):
        if path.stem.isdecimal():
            yield int(path.stem), path


def _listen(path: Path) -> socket.socket:
    # By another name until it listens: who finds the socket can connect to it.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(fresh))
    listening.listen()
    listening.setblocking(False)  # noqa: FBT003 - the signature of the standard library
    fresh.replace(path)
    return listening


class _Given(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _ask(path: Path) -> bytes | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        _log.debug("metrics.worker_silent", worker=path.stem, error=str(error))
        return None
