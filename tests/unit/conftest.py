"""What unit tests of several packages share."""

from pathlib import Path

import pytest

from proxy.telemetry.metrics import Metrics
from tests.support.certificates import Authority


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
