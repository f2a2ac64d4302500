import asyncio
from contextlib import AsyncExitStack

import pytest

from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.upstream.deadline import Deadline
from proxy.upstream.limits import ConnectionLimits
from proxy.upstream.query import Weight
from tests.support.upstream_rules import remote_of

HOST = "registry.example.com"


async def test_a_light_request_that_gets_no_connection_in_time_is_overload() -> None:
    limits = ConnectionLimits()
    rule = remote_of(HOST, max_connections=1).rule
    async with limits.connection(rule, HOST, Weight.BULK, Deadline(60)):
        with pytest.raises(UpstreamError) as caught:
            async with limits.connection(rule, HOST, Weight.LIGHT, Deadline(0)):
                raise AssertionError
        async with limits.connection(rule, HOST, Weight.CARRIED, Deadline(0)):
            pass
    assert caught.value.failure is UpstreamFailure.OVERLOADED
    assert "`max_connections`" in caught.value.message
    async with limits.connection(rule, HOST, Weight.LIGHT, Deadline(60)):
        pass


@pytest.mark.parametrize(("limit", "transfers"), [(1, 1), (2, 1), (8, 7), (16, 14)])
async def test_transfers_leave_some_connections_to_light_requests(limit: int, transfers: int) -> None:
    limits = ConnectionLimits()
    rule = remote_of(HOST, max_connections=limit).rule
    async with AsyncExitStack() as held:
        for _ in range(transfers):
            await held.enter_async_context(limits.connection(rule, HOST, Weight.BULK, Deadline(60)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), limits.connection(rule, HOST, Weight.BULK, Deadline(60)):
                raise AssertionError
        for _ in range(limit - transfers):
            await held.enter_async_context(limits.connection(rule, HOST, Weight.LIGHT, Deadline(60)))


async def test_waiting_for_a_transfers_turn_does_not_use_up_its_time() -> None:
    limits = ConnectionLimits()
    rule = remote_of(HOST, max_connections=1).rule
    deadline = Deadline(0.2)

    async def transfer() -> float:
        async with limits.connection(rule, HOST, Weight.BULK, deadline):
            return deadline.remaining()

    async with asyncio.TaskGroup() as group, limits.connection(rule, HOST, Weight.BULK, Deadline(60)):
        waiting = group.create_task(transfer())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):  # longer than the whole deadline
                await waiting_forever()
    assert waiting.result() > 0


async def waiting_forever() -> None:
    await asyncio.Event().wait()


async def test_rules_have_connections_of_their_own() -> None:
    limits = ConnectionLimits()
    first, second = (remote_of(HOST, prefix=prefix, max_connections=1).rule for prefix in ("a", "b"))
    async with (
        limits.connection(first, HOST, Weight.LIGHT, Deadline(60)),
        limits.connection(second, HOST, Weight.LIGHT, Deadline(0.5)),
    ):
        pass


async def hold(limits: ConnectionLimits, rule: CacheRule, weight: Weight, release: asyncio.Event) -> None:
    async with limits.connection(rule, HOST, weight, Deadline(60)):
        await release.wait()


async def test_the_wait_for_a_connection_is_expected_from_how_long_they_were_held() -> None:
    limits = ConnectionLimits()
    rule = remote_of(HOST, max_connections=2).rule
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        transfer = group.create_task(hold(limits, rule, Weight.BULK, release))
        await asyncio.sleep(0)
        async with limits.connection(rule, HOST, Weight.LIGHT, Deadline(60)):
            await asyncio.sleep(0.05)
        assert limits.expected_wait(rule, HOST) == 0  # one is free
        light = [group.create_task(hold(limits, rule, Weight.LIGHT, release)) for _ in range(3)]
        await asyncio.sleep(0)
        first = limits.expected_wait(rule, HOST)
        light.append(group.create_task(hold(limits, rule, Weight.LIGHT, release)))
        await asyncio.sleep(0)
        assert first >= 3 * 0.05  # two wait already, and the transfer leaves one connection
        assert limits.expected_wait(rule, HOST) == pytest.approx(first * 4 / 3)
        release.set()
    assert transfer.done()
    assert limits.expected_wait(rule, HOST) == 0


async def test_the_queue_for_connections_is_bounded() -> None:
    limits = ConnectionLimits()
    rule = remote_of(HOST, max_connections=1).rule
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(1 + 1024):
            group.create_task(hold(limits, rule, Weight.BULK, release))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamError) as caught:
            async with limits.connection(rule, HOST, Weight.BULK, Deadline(60)):
                raise AssertionError
        release.set()
    assert caught.value.failure is UpstreamFailure.OVERLOADED
