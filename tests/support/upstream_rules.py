"""Short ways to say rules, remotes and counts in tests of upstreams."""

from typing import Any

from proxy.config.settings import parse_upstream
from proxy.model.reference import parse_repository
from proxy.model.rule import CacheRule, Remote
from proxy.telemetry.metrics import Metrics


def remote_of(upstream: str, repository: str = "team/app", *, prefix: str = "up", **changes: Any) -> Remote:  # noqa: ANN401 - any field of a rule
    """Return a repository behind a rule."""
    return Remote(CacheRule(prefix, parse_upstream(upstream), **changes), parse_repository(repository))


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the value of a metric, 0 if it was never touched."""
    return metrics.registry.get_sample_value(name, labels) or 0.0
