"""Whatever a session is asked for may be cancelled wherever it waits: nothing is left, and nothing is broken."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from flowctl_aio import FlowctlSession, State
from tests.cancellation import MOMENTS, MOST, Suspensions, at_each_point, run_cancelled

from .conftest import INFO, Numbers, ids, tasks

pytestmark = pytest.mark.anyio


async def enter_and_leave(context) -> None:
    async with context:
        pass


async def next_of(iterator) -> None:
    await anext(iterator)


QUESTIONS: dict[str, Callable[[FlowctlSession], Coroutine[Any, Any, Any]]] = {
    "get_service_status": lambda session: session.get_service_status(),
    "list_services": lambda session: session.list_services(),
    "discover": lambda session: session.discover(event_type="L"),
    "upstream": lambda session: session.upstream(),
    "downstream": lambda session: session.downstream(),
    "topology": lambda session: session.topology(),
    "pipeline_health": lambda session: session.pipeline_health(),
    "pipeline_metrics": lambda session: session.pipeline_metrics(),
    "health_report": lambda session: session.health_report(),
    "watch": lambda session: next_of(session.watch()),
    "source": lambda session: enter_and_leave(session.source()),
    "run": lambda session: enter_and_leave(session.run("nightly")),
    "chunk": lambda session: enter_and_leave(session.chunk(1, 10)),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_that_is_cancelled_leaves_the_session_as_it_was(plane, config, until, question, moment):
    config = replace(config, query_max_age=0)
    async with FlowctlSession(Numbers(), config) as source, FlowctlSession(INFO, config) as session:
        await session.list_services()
        before = tasks()

        async def check() -> None:
            await until(lambda: tasks() <= before)
            assert session.state is State.REGISTERED
            assert {status.service_id for status in await session.list_services()} == {"numbers", "svc"}

        await at_each_point(moment, lambda: QUESTIONS[question](session), check)
        assert session.metrics()["registrations_total"] == source.metrics()["registrations_total"] == 1
    assert ids(plane) == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("mode", ["loop", "thread"])
async def test_entering_that_is_cancelled_closes_the_session_and_leaves_no_entry(plane, config, until, mode, moment):
    config = replace(config, heartbeat_mode=mode, health_bind="127.0.0.1:0")
    before, sessions = tasks(), []

    def enter() -> Coroutine[Any, Any, Any]:
        sessions.append(FlowctlSession(Numbers(), config))
        return sessions[-1].__aenter__()

    async def check() -> None:
        session = sessions[-1]
        if session.state is not State.IDLE:  # cancelled before it had begun, it has nothing to close
            if session.state is not State.CLOSED:  # in the moment in which it was entered
                await session.aclose()
            assert session.state is State.CLOSED
        await until(lambda: tasks() <= before)
        await until(lambda: ids(plane) == [])

    await at_each_point(moment, enter, check)


ENDINGS: dict[str, Callable[[FlowctlSession], Coroutine[Any, Any, Any]]] = {
    "aclose": lambda session: session.aclose(),
    "leaving": lambda session: session.__aexit__(None, None, None),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ending_that_is_cancelled_ends_the_session_all_the_same(plane, config, until, ending, moment):
    before, sessions = tasks(), []

    async def live() -> None:
        sessions.append(FlowctlSession(Numbers(), config))
        await sessions[-1].__aenter__()

    def end() -> Coroutine[Any, Any, Any]:
        return ENDINGS[ending](sessions[-1])

    async def check() -> None:
        assert sessions[-1].state is State.CLOSED
        assert ids(plane) == []
        await until(lambda: tasks() <= before)
        await live()

    await live()
    await at_each_point(moment, end, check)
    await sessions[-1].aclose()


def probed(session: FlowctlSession, points: Suspensions) -> FlowctlSession:
    """A session whose inside counts its suspensions: entering and leaving wait for a task that does it all."""
    owner = session._life.owner
    main = owner._main
    owner._main = lambda started: points.drive(main(started))
    return session


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("mode", ["loop", "thread"])
async def test_entering_may_be_cancelled_wherever_the_inside_is(plane, config, until, mode, moment):
    config = replace(config, heartbeat_mode=mode, health_bind="127.0.0.1:0")
    before = tasks()
    for at in range(MOST):
        points = Suspensions(at, moment)
        session = probed(FlowctlSession(Numbers(), config), points)
        await run_cancelled(points, session.__aenter__(), at)
        if not points.has_met:
            await session.aclose()
        assert session.state is State.CLOSED
        await until(lambda: tasks() <= before)
        assert ids(plane) == []
        if not points.has_met:
            break
    assert 3 < at < MOST - 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ending_may_be_cancelled_wherever_the_inside_is(plane, config, until, ending, moment):
    before = tasks()
    for at in range(MOST):
        points = Suspensions(at, moment)
        points.is_counting = False
        session = probed(FlowctlSession(Numbers(), replace(config, health_bind="127.0.0.1:0")), points)
        await session.__aenter__()
        points.is_counting = True
        await run_cancelled(points, ENDINGS[ending](session), at)
        assert session.state is State.CLOSED
        await until(lambda: tasks() <= before)
        assert ids(plane) == []
        if not points.has_met:
            break
    assert 3 < at < MOST - 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_drain_that_is_cancelled_anywhere_goes_on(plane, config, until, moment):
    before, sessions = tasks(), []

    async def live() -> None:
        sessions.append(FlowctlSession(Numbers(), config))
        await sessions[-1].__aenter__()

    async def check() -> None:
        with anyio.fail_after(5):
            await sessions[-1].wait_stopped()
            await sessions[-1].drain()
            assert sessions[-1].state is State.DRAINING
            await sessions[-1].aclose()
        assert ids(plane) == []
        await until(lambda: tasks() <= before)
        await live()

    await live()
    await at_each_point(moment, lambda: sessions[-1].drain(), check)
    await sessions[-1].aclose()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("wait", ["wait_for", "wait_stopped", "changes"])
async def test_a_wait_that_is_cancelled_can_be_begun_again(plane, config, until, wait, moment):
    async with FlowctlSession(INFO, config) as session:
        changes, before = session.changes(), tasks()
        waits = {
            "wait_for": lambda: session.wait_for(State.DRAINING),
            "wait_stopped": session.wait_stopped,
            "changes": lambda: next_of(changes),
        }
        points = Suspensions(0, moment)
        if moment == "waiting":
            await run_cancelled(points, points.drive(waits[wait]()), 0)
            assert points.has_met
            await until(lambda: tasks() <= before)
            session.stop()
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(run_cancelled, points, points.drive(waits[wait]()), 0)
                await anyio.wait_all_tasks_blocked()
                session.stop()
        with anyio.fail_after(5):
            # Nothing is lost: who asks again gets it.
            await waits[wait]()
        assert session.state is State.DRAINING
    with suppress(StopAsyncIteration):
        assert (await anext(changes)).after in (State.DRAINING, State.CLOSED)


# Rows above that are named after what they cancel, and those that have tests of their own.
ELSEWHERE = {"__aenter__", "__aexit__", "drain", "wait_for", "wait_stopped"}


def test_each_await_of_a_session_has_its_row():
    awaits = {
        name
        for name, _ in inspect.getmembers(FlowctlSession, inspect.iscoroutinefunction)
        if name in ("__aenter__", "__aexit__") or not name.startswith("_")
    }
    assert awaits <= {*QUESTIONS, *ENDINGS, *ELSEWHERE}
