"""Watching a plane that changes, goes away, and comes back."""

from __future__ import annotations

import logging

import anyio
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.control.discovery.changes import Added, Changed, Removed
from flowctl_aio.control.discovery.watch import Lost, Regained, Snapshot, Watch
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import PlaneUnavailableError, UsageError
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.types import Health, ServiceInfo, ServiceType
from tests.control.statuses import THREE, sink, source

pytestmark = pytest.mark.anyio
OFTEN = 0.01


class Plane:
    """What it tells is what the test sets; an error is raised; nothing at all hangs."""

    def __init__(self, *statuses) -> None:
        self.answer = list(statuses)
        self.asked = 0

    async def list_services(self):
        self.asked += 1
        if self.answer is None:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def watch(self, **settings) -> Watch:
        return Watch(self.list_services, interval=OFTEN, **settings)


async def test_first_everybody_then_what_changes():
    plane = Plane(*THREE)
    async with plane.watch() as watch:
        assert await anext(watch) == Snapshot((THREE[1], THREE[0], THREE[2]))
        plane.answer = [*THREE, sink("more")]
        assert await anext(watch) == Added(sink("more"))
        ill = source(health=Health.UNHEALTHY)
        plane.answer = [*THREE[:2], ill]
        assert [await anext(watch), await anext(watch)] == [
            Removed(sink("more")),
            Changed(THREE[2], ill, ("health",)),
        ]


async def test_an_empty_plane_is_a_snapshot_too():
    async with Plane().watch() as watch:
        assert await anext(watch) == Snapshot(())


async def test_numbers_are_told_when_asked_for():
    plane = Plane(sink(metrics={"n": 1.0}))
    async with plane.watch(metrics=True) as watch:
        await anext(watch)
        plane.answer = [sink(metrics={"n": 2.0})]
        assert (await anext(watch)).fields == ("metrics",)


async def test_whoever_is_slow_gets_the_sum_of_what_happened():
    plane = Plane(sink("a"), sink("b"))
    async with plane.watch() as watch:
        await anext(watch)
        for number in range(50):  # many states that nobody looked at
            plane.answer = [sink("a", endpoint=f"a:{number}"), sink(f"c{number}")]
        assert [await anext(watch) for _ in range(3)] == [
            Removed(sink("b")),
            Added(sink("c49")),
            Changed(sink("a"), sink("a", endpoint="a:49"), ("endpoint",)),
        ]


async def test_a_plane_that_is_away_is_one_line_and_no_end(caplog):
    caplog.set_level(logging.INFO)
    plane = Plane(sink("a"))
    async with plane.watch() as watch:
        await anext(watch)
        plane.answer, asked = PlaneUnavailableError("gone"), plane.asked
        async with anyio.create_task_group() as group:
            heard = []

            async def hear() -> None:
                heard.append(await anext(watch))

            group.start_soon(hear)
            with anyio.fail_after(5):
                while plane.asked < asked + 4:  # noqa: ASYNC110 - nobody sets an event for it
                    await anyio.sleep(OFTEN)
            plane.answer = [sink("a"), sink("b")]
        assert heard == [Added(sink("b"))]
    assert [record.getMessage() for record in caplog.records] == [
        "the watch does not see the plane, and goes on: gone",
        "the watch sees the plane again",
    ]


async def test_outages_are_told_when_asked_for_also_before_the_first_look():
    plane = Plane()
    plane.answer = gone = PlaneUnavailableError("gone")
    async with plane.watch(outages=True) as watch:
        assert await anext(watch) == Lost(gone)
        plane.answer = THREE[:1]
        assert [await anext(watch), await anext(watch)] == [Regained(), Snapshot((THREE[0],))]
        plane.answer = gone
        assert await anext(watch) == Lost(gone)
        plane.answer = []
        assert [await anext(watch), await anext(watch)] == [Regained(), Removed(THREE[0])]


async def test_an_error_that_is_not_the_planes_comes_out_and_the_watch_can_go_on():
    plane = Plane()
    plane.answer = ValueError("ours")
    async with plane.watch() as watch:
        with pytest.raises(ValueError, match="ours"):
            await anext(watch)
        plane.answer = []
        assert await anext(watch) == Snapshot(())


@pytest.mark.parametrize("where", ["asking", "waiting"])
async def test_a_wait_that_is_cancelled_loses_nothing(where):
    plane = Plane(*THREE[:1])
    async with plane.watch() as watch:
        await anext(watch)
        plane.answer = None if where == "asking" else THREE[:1]
        with anyio.move_on_after(3 * OFTEN):
            await anext(watch)
        plane.answer = []
        assert await anext(watch) == Removed(THREE[0])


@pytest.mark.parametrize("where", ["asking", "waiting"])
async def test_closing_ends_the_iteration_of_another_task(where):
    plane = Plane()
    watch = Watch(plane.list_services, interval=60)
    if where == "asking":
        plane.answer = None
    items = []

    async def iterate() -> None:
        items.extend([item async for item in watch])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(iterate)
            await anyio.wait_all_tasks_blocked()
            await watch.aclose()
    assert items == ([] if where == "asking" else [Snapshot(())])
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_it_is_for_one_task_at_a_time_and_needs_an_interval():
    plane = Plane()
    plane.answer = None
    async with plane.watch() as watch, anyio.create_task_group() as group:
        group.start_soon(anext, watch)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(UsageError, match="one task at a time"):
            await anext(watch)
        group.cancel_scope.cancel()
    with pytest.raises(UsageError, match="above 0"):
        Watch(plane.list_services, interval=0)


async def test_it_works_over_a_real_plane():
    async with EmbeddedControlPlane() as plane, open_control_channel(plane.endpoint) as channel:
        config = FlowctlConfig(endpoint=plane.endpoint)
        async with Watch(PlaneClient(channel, config).list_services, interval=OFTEN) as watch:
            assert await anext(watch) == Snapshot(())
            async with FlowctlSession(ServiceInfo("svc", ServiceType.SINK), config):
                came = await anext(watch)
                assert isinstance(came, Added)
                assert came.status.service_id == "svc"
            while not isinstance(item := await anext(watch), Removed):
                assert isinstance(item, Changed)
            assert item.status.service_id == "svc"
