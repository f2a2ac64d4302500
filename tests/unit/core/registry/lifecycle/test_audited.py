"""What lifecycle policies remove is told, image by image, also where a round ends early."""

import pytest

from proxy.core.offloading import Offloader
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.lifecycle.administration import LifecycleAdministration
from proxy.core.tasks import Tasks
from proxy.telemetry.audit import AuditEvent
from tests.support.clock import FakeClock
from tests.support.meddled_metadata import MeddledMetadata
from tests.unit.core.registry.lifecycle.conftest import NAME
from tests.unit.core.registry.lifecycle.test_administration import DAY, UNTAGGED_DAYS, left, push

BATCH = 100


class Trail:
    """The `AuditTrail` that remembers."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def record(self, event: AuditEvent) -> None:
        self.events.append(event)


async def test_what_was_removed_before_a_fault_is_told(store: MeddledMetadata, clock: FakeClock, tasks: Tasks) -> None:
    trail = Trail()
    lifecycle = LifecycleAdministration(
        store, RegistryIdentity(), clock, tasks, offloader=Offloader(), interval=3600, audit=trail
    )
    await lifecycle.put(NAME, UNTAGGED_DAYS)
    pushed = {await push(store, f"image {number}") for number in range(BATCH + 1)}
    clock.advance(15 * DAY)
    batches = iter(range(1))

    async def break_down() -> None:
        if next(batches, None) is None:
            raise OSError("the disk is gone")

    store.before_removal = break_down
    with pytest.raises(OSError, match="the disk is gone"):
        await lifecycle.expire(NAME)
    removed = pushed - await left(store)
    assert len(removed) == BATCH
    assert sorted(str(event.reference) for event in trail.events) == sorted(map(str, removed))
    assert {(event.operation, event.principal, event.subject) for event in trail.events} == {
        ("lifecycle:Expire", "system:lifecycle", NAME)
    }
