"""The metrics of several workers in one answer."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.telemetry.exposition import OwnMetrics, WorkersMetrics, merge
from proxy.telemetry.metrics import Metrics
from tests.support.background import started, until


def values(text: bytes, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def counted(times: int) -> Metrics:
    metrics = Metrics()
    for _ in range(times):
        metrics.requests.labels("ping", "GET", "200", "none").inc()
    return metrics


@pytest.fixture
def folder() -> Iterator[Path]:
    # The name of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pt-") as name:
        yield Path(name)


async def test_alone_a_process_tells_its_own() -> None:
    text = await OwnMetrics(counted(3)).render()
    assert list(values(text, "pullthrough_requests_total").values()) == [3]


def test_series_of_workers_stay_apart() -> None:
    text = merge({0: counted(2).render(), 3: counted(5).render()}, expected=[0, 1, 3])
    found = {dict(labels)["worker"]: value for labels, value in values(text, "pullthrough_requests_total").items()}
    assert found == {"0": 2, "3": 5}
    assert values(text, "pullthrough_worker_up") == {
        (("worker", "0"),): 1,
        (("worker", "1"),): 0,
        (("worker", "3"),): 1,
    }


def test_every_family_is_told_once_with_its_type() -> None:
    alone, merged = counted(1).render().decode(), merge({0: counted(1).render(), 1: counted(1).render()}).decode()
    types = {line for line in alone.splitlines() if line.startswith("# TYPE")}
    assert types <= set(merged.splitlines())
    assert len([line for line in merged.splitlines() if line.startswith("# TYPE")]) == len(types) + 1


def test_histograms_stay_whole() -> None:
    metrics = Metrics()
    metrics.request_seconds.observe("ping", 0.01)
    found = values(merge({0: metrics.render()}), "pullthrough_request_seconds_bucket")
    assert {dict(labels)["le"]: value for labels, value in found.items()}["0.02"] == 1


async def test_workers_tell_each_other(folder: Path) -> None:
    first, second = WorkersMetrics(counted(1), folder, 0), WorkersMetrics(counted(2), folder, 1)
    serving = started(second.serve())
    await until((folder / "1.metrics").exists)
    found = values(await first.render(), "pullthrough_requests_total")
    serving.cancel()
    assert {dict(labels)["worker"]: value for labels, value in found.items()} == {"0": 1, "1": 2}


async def test_a_worker_that_ended_is_told_and_keeps_nothing_back(folder: Path) -> None:
    (folder / "1.metrics").write_text("")
    text = await WorkersMetrics(counted(1), folder, 0).render()
    assert values(text, "pullthrough_worker_up") == {(("worker", "0"),): 1, (("worker", "1"),): 0}
    assert len(values(text, "pullthrough_requests_total")) == 1


async def test_the_next_worker_of_a_number_takes_its_place(folder: Path) -> None:
    (folder / "1.metrics").write_text("")
    serving = started(WorkersMetrics(counted(4), folder, 1).serve())
    await until((folder / "1.metrics").is_socket)
    found = values(await WorkersMetrics(counted(1), folder, 0).render(), "pullthrough_requests_total")
    serving.cancel()
    assert sorted(found.values()) == [1, 4]
