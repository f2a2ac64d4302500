"""Short ways to say rules, remotes, failures and counts in tests of upstreams."""

from typing import Any

import pytest

from proxy.config.addresses import parse_upstream
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError
from proxy.model.reference import Tag, parse_repository
from proxy.model.rule import CacheRule, Remote
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient

LATEST = Tag("latest")
ALICE = UserPassword("alice", SecretSource(env="ALICE_PASSWORD"))


def remote_of(upstream: str, repository: str = "team/app", *, prefix: str = "up", **changes: Any) -> Remote:  # noqa: ANN401 - any field of a rule
    """Return a repository behind a rule."""
    return Remote(CacheRule(prefix, parse_upstream(upstream), **changes), parse_repository(repository))


async def failure_of(
    client: UpstreamClient, remote: Remote, reference: Tag | Digest = LATEST, *, retry: bool = False
) -> UpstreamError:
    """Return how asking for a manifest fails."""
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(remote, reference, retry=retry)
    return caught.value


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the value of a metric, 0 if it was never touched."""
    return metrics.registry.get_sample_value(name, labels) or 0.0
