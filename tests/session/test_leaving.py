"""Leaving a session: every way out unregisters, and nothing stays behind."""

from __future__ import annotations

import asyncio
import re

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import Event, EventBatch, FlowctlConfig, FlowctlSession, Health, ServiceInfo, ServiceType, Sink
from flowctl_aio.control.discovery.watch import Snapshot
from flowctl_aio.control.lifecycle import State
from flowctl_aio.errors import SessionClosedError, UsageError

from .conftest import INFO, Numbers, ids, is_uncancelled, tasks

pytestmark = pytest.mark.anyio


class Way(Exception):  # noqa: N818 - a way out, not a fault
    pass


async def by_return(session):
    pass


async def by_exception(session):
    raise Way


async def by_cancellation(session):
    asyncio.current_task().cancel()
    await anyio.sleep_forever()


async def by_stop(session):
    session.stop()
    await session.wait_stopped()


async def by_task_failure(session):
    async def fail():
        raise Way

    session.start_soon(fail)
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("way", "outcome"),
    [
        (by_return, None),
        (by_exception, Way),
        (by_cancellation, asyncio.CancelledError),
        (by_stop, None),
        (by_task_failure, Way),
    ],
)
async def test_every_way_out_unregisters(plane, config, way, outcome):
    seen = []

    async def live():
        async with FlowctlSession(Numbers(), config) as session:
            seen.append(session)
            assert ids(plane) == ["numbers"]
            await way(session)

    task = asyncio.create_task(live())
    await asyncio.wait([task])
    ended_by = asyncio.CancelledError if task.cancelled() else task.exception() and type(task.exception())
    assert ended_by is outcome
    assert ids(plane) == []
    assert seen[0].state is State.CLOSED


async def test_the_blocks_own_error_wins_over_a_tasks(plane, config):
    async def fail():
        raise KeyError("task")

    async def live():
        async with FlowctlSession(INFO, config) as session:
            session.start_soon(fail)
            try:
                await anyio.sleep_forever()
            finally:
                raise Way

    with pytest.raises(Way):
        await live()
    assert is_uncancelled()


async def test_a_timeout_around_a_session_is_a_timeout(plane, config):
    with pytest.raises(TimeoutError), anyio.fail_after(0.05):
        async with FlowctlSession(INFO, config):
            await anyio.sleep_forever()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), FlowctlSession(INFO, config):
            await anyio.sleep_forever()
    assert ids(plane) == []
    assert is_uncancelled()


async def test_a_stream_under_way_comes_to_its_end_while_the_session_drains(plane, config):
    class Kept(Sink):
        rows = 0

        async def consume(self, batch, epoch): ...

        async def commit(self, epoch):
            self.rows += epoch.rows

    kept = Kept()
    served = FlowctlSession(kept, config)
    async with (
        FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE), config) as session,
        served,
        session.sink(served.endpoint) as sink,
        anyio.create_task_group() as group,
    ):
        await sink.send(EventBatch.from_events([Event("e", b"1")]))
        await plane.wait_until(lambda: served.metrics()["rows_in_total"] == 1)
        group.start_soon(served.aclose)
        await plane.wait_for_service("kept", Health.STOPPING)  # beats go on while it drains
        await sink.send(EventBatch.from_events([Event("e", b"2")]))
        ack = await sink.flush()
        assert ack is not None
        assert ack.rows == 2
    assert kept.rows == 2


@pytest.mark.parametrize("subject", [Sink, None, "svc", object()])
def test_a_session_of_something_else_is_refused_by_name(subject):
    with pytest.raises(UsageError, match="a session is made from"):
        FlowctlSession(subject)


async def test_a_session_that_is_not_open_opens_no_clients():
    session = FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE))
    with pytest.raises(UsageError, match="not open"):
        async with session.source("127.0.0.1:1"):
            pass


async def test_a_closed_session_says_so(plane, config):
    async with FlowctlSession(INFO, config) as session:
        pass
    with pytest.raises(SessionClosedError):
        await session.list_services()
    with pytest.raises(SessionClosedError):
        await session.wait_for(State.REGISTERED)
    with pytest.raises(SessionClosedError):
        async with session.source("localhost:1"):
            pass
    with pytest.raises(UsageError, match="not open"):
        session.start_soon(anyio.sleep, 1)
    await session.wait_stopped()
    await session.aclose()


async def test_five_lives_in_a_row_leave_no_task(plane, config, until):
    before = tasks()
    for _ in range(5):
        async with FlowctlSession(Numbers(), config):
            pass
    await until(lambda: tasks() <= before)


async def test_two_sessions_live_in_one_loop(plane, config):
    async with FlowctlSession(Numbers(), config) as one, FlowctlSession(INFO, config) as two:
        assert ids(plane) == ["numbers", "svc"]
        async with two.source() as source, source.stream(1, 3) as stream:
            assert [row.sequence async for batch in stream for row in batch] == [1, 2, 3]
        assert one.metrics()["rows_out_total"] == 3
    assert ids(plane) == []


async def test_its_repr_tells_who_where_and_how():
    session = FlowctlSession(Numbers(), FlowctlConfig(enabled=False))
    assert repr(session) == "<FlowctlSession numbers idle>"
    async with session:
        assert re.fullmatch(r"<FlowctlSession numbers degraded at 127\.0\.0\.1:\d+>", repr(session))
    assert "closed" in repr(session)


async def test_a_watch_ends_with_its_session_also_while_it_waits(plane, config):
    seen = []

    async def look(watch):
        seen.extend([news async for news in watch])

    async with anyio.create_task_group() as group, FlowctlSession(INFO, config) as session:
        watch = session.watch(interval=3600)
        seen.append(await anext(watch))
        group.start_soon(look, watch)
        await anyio.lowlevel.checkpoint()
    assert [type(news) for news in seen] == [Snapshot]


async def test_a_watch_without_a_pause_is_refused(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(UsageError, match="above 0"):
            session.watch(interval=0)


async def test_a_session_that_is_closed_and_was_never_entered_is_used_up():
    session = FlowctlSession(INFO, FlowctlConfig(enabled=False))
    changes = session.changes()
    await session.aclose()
    assert session.state is State.CLOSED
    assert [change.after async for change in changes] == [State.CLOSED]
    with pytest.raises(UsageError, match="closed"):
        async with session:
            pytest.fail("entered")


def test_a_session_may_be_made_before_there_is_a_loop():
    session = FlowctlSession(INFO, FlowctlConfig(enabled=False))

    async def live():
        async with session:
            return session.state

    assert asyncio.run(live()) is State.DEGRADED
