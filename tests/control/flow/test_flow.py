"""What is in flight, what may be, and what follows."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import suppress
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.types import Health
from tests.control.statuses import HOSTILE, NOW, quick, service, sink

pytestmark = pytest.mark.anyio


def flow_of(**settings) -> FlowControl:
    return FlowControl("me", now=lambda: NOW, **settings)


def test_load_is_in_flight_over_the_limit_of_those_who_have_one():
    flow = flow_of()
    assert flow.load == 0.0
    flow.acquire_nowait("without", 1000)
    assert (flow.load, flow.service_loads()) == (0.0, {})
    flow.set_limit("a", 10)
    flow.set_limit("b", 30)
    flow.acquire_nowait("a", 5)
    flow.acquire_nowait("b", 5)
    assert (flow.load, flow.service_loads()) == (0.25, {"a": 0.5, "b": 5 / 30})
    flow.set_limit("b", 0)
    assert (flow.load, flow.inflight("b"), flow.limit("b")) == (0.5, 5, 0)


async def test_it_begins_above_one_load_ends_below_another_and_stays_in_between():
    flow = flow_of()
    flow.set_limit("me", 100)
    seen = []
    for count in (80, 81, 80, 61, 60, 59, 60, 80, 81):
        change = count - flow.inflight("me")
        if change > 0:
            flow.acquire_nowait("me", change)
        elif change < 0:
            flow.release("me", -change)
        seen.append((count, flow.is_backpressure_active, flow.throttle_rate))
    assert seen == [
        (80, False, 1.0),
        (81, True, 0.5),
        (80, True, 0.5),
        (61, True, 0.5),
        (60, True, 0.5),
        (59, False, 1.0),
        (60, False, 1.0),
        (80, False, 1.0),
        (81, True, 0.5),
    ]


async def test_a_new_limit_is_looked_at_at_once():
    flow = flow_of()
    flow.acquire_nowait("me", 9)
    async with flow.subscribe() as signals:
        flow.set_limit("me", 10)
        flow.set_limit("me", 100)
        signal = await anext(signals)
        assert (signal.service_id, signal.load, signal.rate, signal.at) == ("me", 0.9, 0.5, NOW)
        assert (signal.is_active, signal.reason) == (True, "the load is above 80%")
        signal = await anext(signals)
        assert (signal.load, signal.rate, signal.is_active) == (0.09, 1.0, False)
        assert signal.reason == "the load is below 60%"


def test_numbers_that_are_none_are_refused_and_change_nothing():
    flow = flow_of()
    for limit in (-1, 2**31, 1.5, True, math.nan):
        with pytest.raises(UsageError, match="the limit of me"):
            flow.set_limit("me", limit)
    for count in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="what me has in flight"):
            flow.acquire_nowait("me", count)
    flow.acquire_nowait("me", 2)
    with pytest.raises(UsageError, match="me has 2 in flight, so 3 cannot be released"):
        flow.release("me", 3)
    assert flow.inflight("me") == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"backpressure_threshold": 0.5},
        {"backpressure_threshold": 1.5},
        {"recovery_threshold": 0.0},
        {"recovery_threshold": math.nan},
        {"throttle_rate": 0.0},
        {"throttle_rate": 1.1},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ConfigError):
        flow_of(**settings)


# Holding


async def test_what_is_held_is_released_on_every_way_out():
    flow = flow_of()
    flow.set_limit("me", 4)
    async with flow.hold("me", 3):
        assert flow.inflight("me") == 3
    assert flow.inflight("me") == 0
    with pytest.raises(ZeroDivisionError):
        async with flow.hold("me"):
            raise ZeroDivisionError
    assert flow.inflight("me") == 0
    with anyio.move_on_after(0):
        async with flow.hold("me"):
            await anyio.sleep_forever()
    with anyio.CancelScope() as scope:
        async with flow.hold("me"):
            scope.cancel()
            await anyio.sleep_forever()
    assert flow.inflight("me") == 0


class Row:
    """Tasks that want to pass, in order of their coming."""

    def __init__(self, flow: FlowControl, group) -> None:
        self.flow, self.group = flow, group
        self.passed: list[str] = []

    async def come(self, name: str, count: int = 1) -> anyio.CancelScope:
        scope = anyio.CancelScope()

        async def acquire() -> None:
            with scope:
                await self.flow.acquire("me", count)
                self.passed.append(name)

        self.group.start_soon(acquire)
        await anyio.wait_all_tasks_blocked()
        return scope

    async def release(self, count: int = 1) -> None:
        self.flow.release("me", count)
        await anyio.wait_all_tasks_blocked()


async def test_who_finds_no_room_waits_and_the_first_passes_first():
    async with anyio.create_task_group() as group:
        flow = flow_of()
        flow.set_limit("me", 3)
        row = Row(flow, group)
        await row.come("a", 3)
        await row.come("b", 2)
        await row.come("c", 1)  # there would be room after one release, but b came first
        await row.release()
        assert row.passed == ["a"]
        await row.release(2)
        assert row.passed == ["a", "b", "c"]
        assert flow.inflight("me") == 3


async def test_more_than_the_limit_passes_when_it_is_alone():
    async with anyio.create_task_group() as group:
        flow = flow_of()
        flow.set_limit("me", 3)
        row = Row(flow, group)
        await row.come("a")
        await row.come("big", 10)
        assert row.passed == ["a"]
        await row.release()
        assert (row.passed, flow.inflight("me")) == (["a", "big"], 10)


@pytest.mark.parametrize("limit", [5, 0])
async def test_a_higher_limit_or_none_lets_pass_at_once(limit):
    async with anyio.create_task_group() as group:
        flow = flow_of()
        flow.set_limit("me", 1)
        row = Row(flow, group)
        for name in "abc":
            await row.come(name)
        flow.set_limit("me", limit)
        await anyio.wait_all_tasks_blocked()
        assert row.passed == ["a", "b", "c"]


async def test_who_is_cancelled_while_waiting_has_taken_nothing_and_blocks_nobody():
    async with anyio.create_task_group() as group:
        flow = flow_of()
        flow.set_limit("me", 2)
        row = Row(flow, group)
        await row.come("a")
        big = await row.come("big", 2)
        await row.come("c")
        big.cancel()
        await anyio.wait_all_tasks_blocked()
        assert (row.passed, flow.inflight("me")) == (["a", "c"], 2)


async def test_who_is_cancelled_in_the_moment_of_passing_gives_it_back():
    async with anyio.create_task_group() as group:
        flow = flow_of()
        flow.set_limit("me", 1)
        row = Row(flow, group)
        await row.come("a")
        unlucky: list[asyncio.Task[None]] = []

        async def acquire() -> None:
            unlucky.append(asyncio.current_task())
            await flow.acquire("me")
            row.passed.append("b")

        group.start_soon(acquire)
        await anyio.wait_all_tasks_blocked()
        await row.come("c")
        flow.release("me")  # grants to b, which has not run yet
        unlucky[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert (row.passed, flow.inflight("me")) == (["a", "c"], 1)


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_comes_and_goes_in_whatever_way_nothing_is_left_behind(seed):
    chance = random.Random(seed)
    flow = flow_of()
    flow.set_limit("me", 4)
    most = 0

    async def come_and_go(count: int, scope: anyio.CancelScope, *, fails: bool) -> None:
        nonlocal most
        with scope, suppress(ZeroDivisionError):
            async with flow.hold("me", count):
                most = max(most, flow.inflight("me"))
                for _ in range(chance.randrange(3)):
                    await checkpoint()
                if fails:
                    raise ZeroDivisionError

    async with anyio.create_task_group() as group:
        scopes = [anyio.CancelScope() for _ in range(200)]
        for scope in scopes:
            group.start_soon(partial(come_and_go, chance.randint(1, 4), scope, fails=chance.random() < 0.3))
            if chance.random() < 0.3:
                chance.choice(scopes).cancel()
                await checkpoint()
    assert (flow.inflight("me"), flow.load, flow._waiters) == (0, 0.0, {})
    assert most <= 4


# Others


def of(service_id, inflight, most, **more):
    return service(service_id, metrics={"inflight": inflight, "max_inflight": most}, **more)


def test_what_others_tell_with_their_heartbeats_counts_too():
    flow = flow_of(lease=30)
    flow.set_limit("me", 10)
    flow.acquire_nowait("me", 5)
    flow.observe(
        [
            of("me", 10.0, 10.0),  # one's own beat is older than what one knows
            of("a", 35.0, 40.0),
            sink("registered", metrics={"inflight": 45.0}, max_inflight=50),
            sink("without a limit", metrics={"inflight": 1000.0}),
            of("ill", 99.0, 99.0, health=Health.UNHEALTHY),
            of("going", 99.0, 99.0, health=Health.STOPPING),
            of("gone", 99.0, 99.0, silent=31),
            of("odd", math.nan, 10.0),
            of("odd too", 5.0, 0.0),
        ]
    )
    assert flow.service_loads() == {"a": 0.875, "registered": 0.9, "me": 0.5}
    assert flow.load == 0.85
    assert flow.is_backpressure_active
    flow.observe([of("a", 0.0, 40.0)])
    assert (flow.load, flow.is_backpressure_active) == (0.1, False)
    flow.set_limit("me", 0)
    assert flow.service_loads() == {"a": 0.0}


@quick
@given(st.lists(HOSTILE, max_size=5))
def test_whatever_others_tell_the_load_is_a_number(statuses):
    flow = flow_of()
    flow.set_limit("a", 3)
    flow.observe(statuses)
    assert math.isfinite(flow.load)
    assert all(math.isfinite(load) for load in flow.service_loads().values())


@quick
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("limit"), st.sampled_from("ab"), st.integers(0, 9)),
            st.tuples(st.just("inflight"), st.sampled_from("abc"), st.integers(0, 9)),
            st.tuples(st.just("acquire"), st.sampled_from("abc"), st.integers(1, 9)),
            st.tuples(st.just("observe"), st.sampled_from("ad"), st.integers(0, 9)),
        )
    )
)
def test_the_load_is_that_of_the_numbers_whatever_came_before(changes):
    flow = flow_of()
    others = {}
    for what, name, number in changes:
        if what == "limit":
            flow.set_limit(name, number)
        elif what == "inflight":
            flow.set_inflight(name, number)
        elif what == "acquire":
            flow.acquire_nowait(name, number)
        else:
            others = {name: number}
            flow.observe([service(name, metrics={"inflight": float(number), "max_inflight": 10.0})])
    limits = {name: flow.limit(name) for name in "ab" if flow.limit(name)}
    counted = {name: (flow.inflight(name), limit) for name, limit in limits.items()}
    counted |= {name: (number, 10) for name, number in others.items() if name not in limits}
    most = sum(limit for _, limit in counted.values())
    assert flow.load == (sum(count for count, _ in counted.values()) / most if most else 0.0)


def test_its_state_is_one_value():
    flow = flow_of()
    flow.set_limit("me", 10)
    flow.acquire_nowait("me", 9)
    state = flow.state()
    assert (state.is_active, state.load, state.rate, state.loads, state.at) == (True, 0.9, 0.5, {"me": 0.9}, NOW)
