"""The states of a session: which may follow which, and waiting for them."""

from __future__ import annotations

import gc
import itertools
import logging
import weakref
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio.control.lifecycle import FOLLOWS, Lifecycle, State, diagram
from flowctl_aio.errors import SessionClosedError, UsageError

pytestmark = pytest.mark.anyio


def at(state: State) -> Lifecycle:
    lifecycle = Lifecycle("svc")
    lifecycle.state = state
    return lifecycle


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(State, 2)))
async def test_only_what_the_table_allows_can_follow(before, after):
    lifecycle = at(before)
    if after in FOLLOWS[before]:
        lifecycle.move(after)
        assert lifecycle.state is after
    else:
        with pytest.raises(UsageError, match=f"{before.value} and cannot become {after.value}"):
            lifecycle.move(after)
        assert lifecycle.state is before


def test_every_state_is_in_the_table_and_every_state_can_close():
    assert set(FOLLOWS) == set(State)
    assert all(State.CLOSED in follows for state, follows in FOLLOWS.items() if state is not State.CLOSED)
    assert not FOLLOWS[State.CLOSED]


async def test_staying_is_no_change(caplog):
    caplog.set_level(logging.INFO)
    lifecycle = at(State.REGISTERED)
    lifecycle.move(State.REGISTERED)
    assert caplog.records == []


async def test_each_change_is_one_line_at_the_level_that_it_deserves(caplog):
    caplog.set_level(logging.INFO)
    lifecycle = at(State.CONNECTING)
    lifecycle.move(State.DEGRADED, "the plane is away", level=logging.WARNING)
    lifecycle.move(State.DEGRADED, "still")
    lifecycle.move(State.REGISTERED)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "svc is degraded: the plane is away"),
        ("INFO", "svc is registered"),
    ]


async def test_waiting_for_the_present_state_does_not_wait():
    assert await at(State.REGISTERED).wait_for(State.DEGRADED, State.REGISTERED) is State.REGISTERED


async def test_all_who_wait_hear_of_a_change():
    lifecycle = at(State.CONNECTING)
    heard = []

    async def wait(*states: State) -> None:
        heard.append(await lifecycle.wait_for(*states))

    async with anyio.create_task_group() as group:
        group.start_soon(wait, State.REGISTERED)
        group.start_soon(wait, State.REGISTERED, State.DEGRADED)
        group.start_soon(wait, State.DRAINING)
        await anyio.wait_all_tasks_blocked()
        lifecycle.move(State.REGISTERED)
        await anyio.wait_all_tasks_blocked()
        assert heard == [State.REGISTERED] * 2
        lifecycle.move(State.DRAINING)
    assert heard[-1] is State.DRAINING


async def test_the_end_ends_all_waiting():
    lifecycle = at(State.DEGRADED)
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(SessionClosedError, match="svc"):
                await lifecycle.wait_for(State.REGISTERED)

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        lifecycle.move(State.CLOSED)
    assert await lifecycle.wait_for(State.CLOSED) is State.CLOSED


async def test_a_wait_that_is_cancelled_leaves_nothing_behind():
    lifecycle = at(State.DEGRADED)
    with anyio.move_on_after(0.01) as scope:
        await lifecycle.wait_for(State.REGISTERED)
    assert scope.cancelled_caught
    lifecycle.move(State.REGISTERED)
    assert await lifecycle.wait_for(State.REGISTERED) is State.REGISTERED


async def test_changes_come_in_order_without_a_gap_and_end_with_the_session():
    lifecycle = Lifecycle("svc")
    changes = lifecycle.changes()
    for state in (State.CONNECTING, State.DEGRADED, State.REGISTERED, State.DEGRADED, State.DRAINING, State.CLOSED):
        lifecycle.move(state, f"to {state.value}")
    seen = [change async for change in changes]
    assert [(change.before, change.after) for change in seen[:2]] == [
        (State.IDLE, State.CONNECTING),
        (State.CONNECTING, State.DEGRADED),
    ]
    assert [change.why for change in seen[-2:]] == ["to draining", "to closed"]
    assert all(change.at.tzinfo is not None for change in seen)
    assert [change async for change in lifecycle.changes()] == []


async def test_two_who_listen_hear_the_same_and_a_cancelled_wait_loses_nothing():
    lifecycle = Lifecycle("svc")
    one, other = lifecycle.changes(), lifecycle.changes()
    with anyio.move_on_after(0):
        await anext(one)
    lifecycle.move(State.CONNECTING)
    lifecycle.move(State.CLOSED)
    assert [change.after async for change in one] == [change.after async for change in other]


async def test_a_state_that_is_left_again_at_once_is_still_seen():
    lifecycle = at(State.REGISTERED)
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            assert await lifecycle.wait_for(State.DEGRADED) is State.DEGRADED

        group.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        lifecycle.move(State.DEGRADED)
        lifecycle.move(State.REGISTERED)


async def test_what_nobody_listens_to_is_not_kept():
    lifecycle = at(State.REGISTERED)
    first = weakref.ref(lifecycle._last)
    for _ in range(100):
        lifecycle.move(State.DEGRADED)
        lifecycle.move(State.REGISTERED)
    gc.collect()
    assert first() is None


def test_the_page_on_the_lifecycle_shows_the_table():
    page = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()
    assert f"```mermaid\n{diagram()}\n```" in page
