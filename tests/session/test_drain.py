"""Three ways to end a session, in any order and any number of times."""

from __future__ import annotations

import itertools

import anyio
import pytest

from flowctl_aio import Event, EventBatch, FlowctlSession, Health, Sink, State
from flowctl_aio.errors import PeerUnavailableError, UsageError

from .conftest import INFO, Numbers, ids

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("order", list(itertools.permutations(["stop", "drain", "aclose"])))
async def test_endings_may_come_in_any_order_and_twice(plane, config, order):
    async with FlowctlSession(Numbers(), config) as session:
        for ending in [*order, *order]:
            done = getattr(session, ending)()
            if done is not None:
                await done
    assert session.state is State.CLOSED
    assert ids(plane) == []


async def test_who_has_drained_is_still_registered_and_says_that_it_is_stopping(plane, config):
    async with FlowctlSession(Numbers(), config) as session:
        await session.drain()
        assert session.state is State.DRAINING
        with anyio.fail_after(5):
            await plane.wait_for_service("numbers", Health.STOPPING)
    assert ids(plane) == []


@pytest.mark.parametrize("local_streams", [False, True], ids=["grpc", "local"])
async def test_draining_waits_for_the_streams_under_way_and_takes_no_new_ones(plane, config, driver, until):
    class Kept(Sink):
        rows = 0

        async def consume(self, batch, epoch): ...

        async def commit(self, epoch):
            self.rows += epoch.rows

    kept = Kept()
    async with FlowctlSession(kept, config) as session, driver.sink(session.endpoint) as sink:
        await sink.send(EventBatch.from_events([Event("e", b"1")]))
        await until(lambda: session.metrics()["rows_in_total"] == 1)
        async with anyio.create_task_group() as group:
            group.start_soon(session.drain)
            await session.wait_for(State.DRAINING)
            await sink.send(EventBatch.from_events([Event("e", b"2")]))
            await sink.flush()
        assert kept.rows == 2
        with pytest.raises(PeerUnavailableError):
            async with driver.sink(session.endpoint) as late:
                await late.send(EventBatch.from_events([Event("e", b"3")]))


async def test_a_drain_that_is_cancelled_goes_on(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with anyio.move_on_after(0):
            await session.drain()
        with anyio.fail_after(5):
            await session.drain()


async def test_a_session_that_was_never_entered_cannot_drain():
    with pytest.raises(UsageError, match="not open"):
        await FlowctlSession(INFO).drain()
    await FlowctlSession(INFO).aclose()
