"""Tasks of a session: they end with it, and one that fails ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import FlowctlSession
from flowctl_aio.control.lifecycle import State
from flowctl_aio.errors import UsageError
from flowctl_aio.types import Health

from .conftest import INFO, is_uncancelled

pytestmark = pytest.mark.anyio


async def test_a_failing_task_cancels_the_block_and_comes_out_alone(plane, config):
    boom = KeyError("mine")

    async def fail():
        await plane.wait_for_service("svc", Health.HEALTHY)
        raise boom

    where = []

    async def live():
        async with FlowctlSession(INFO, config) as session:
            session.start_soon(fail)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                where.append("cancelled")
                raise

    with pytest.raises(KeyError) as caught, anyio.fail_after(5):
        await live()
    assert caught.value is boom
    assert where == ["cancelled"]
    assert is_uncancelled()
    await anyio.lowlevel.checkpoint()  # a cancellation that was not taken back would come out here


async def test_two_failing_tasks_come_out_as_a_group(plane, config):
    gate = anyio.Event()

    async def fail(error):
        await gate.wait()
        raise error

    async def live():
        async with FlowctlSession(INFO, config) as session:
            session.start_soon(fail, KeyError(1))
            session.start_soon(fail, IndexError(2))
            gate.set()
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert {type(error) for error in caught.value.exceptions} == {KeyError, IndexError}
    assert is_uncancelled()


async def test_tasks_are_cancelled_when_the_session_ends(plane, config):
    ended = []

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with FlowctlSession(INFO, config) as session:
        session.start_soon(work)
        await anyio.wait_all_tasks_blocked()
    assert ended == [True]


async def test_a_task_that_closes_its_own_session_does_not_hang(plane, config):
    config = replace(config, drain_timeout=0.1, unregister_timeout=0.1)

    async with FlowctlSession(INFO, config) as session:
        session.start_soon(session.aclose)
        with anyio.fail_after(5):
            await session.wait_stopped()
    assert session.state is State.CLOSED


async def test_start_soon_needs_an_open_session(config):
    with pytest.raises(UsageError, match="not open"):
        FlowctlSession(INFO, config).start_soon(anyio.sleep, 1)


async def test_start_soon_takes_a_function_and_not_what_it_gives(config):
    made = anyio.sleep(1)
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(UsageError, match="takes a coroutine function and its arguments, not <coroutine"):
            session.start_soon(made)
    made.close()
