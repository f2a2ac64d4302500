"""Metrics that are counted our own way read as the library's do."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from proxy.telemetry.metrics import Durations

BOUNDS = (0.001, 0.5, 2, 25)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_durations_are_told_as_a_histogram_of_the_library_tells_them(registry: CollectorRegistry) -> None:
    durations = Durations("some_seconds", "What took how long.", "route", BOUNDS)
    registry.register(durations)
    others = CollectorRegistry()
    histogram = Histogram("some_seconds", "What took how long.", ["route"], buckets=BOUNDS, registry=others)
    assert generate_latest(registry) == generate_latest(others)

    for route, seconds in (
        ("blob", 0.0),
        ("blob", 0.001),
        ("ping", 0.0011),
        ("blob", 2.0),
        ("blob", 25.5),
        ("ping", 3),
    ):
        durations.observe(route, seconds)
        histogram.labels(route).observe(seconds)
    assert generate_latest(registry) == generate_latest(others)


def test_two_metrics_cannot_have_one_name(registry: CollectorRegistry) -> None:
    registry.register(Durations("some_seconds", "What took how long.", "route", BOUNDS))
    with pytest.raises(ValueError, match="some_seconds"):
        registry.register(Durations("some_seconds", "What else took how long.", "route", BOUNDS))
