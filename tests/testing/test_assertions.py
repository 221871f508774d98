"""Assertions say what is wrong, and find what is left."""

from __future__ import annotations

import asyncio
import socket
import threading

import anyio
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, Health
from flowctl_aio.errors import UsageError
from flowctl_aio.testing import (
    EchoProcessor,
    assert_no_leaks,
    config_for,
    wait_registered,
)

from .conftest import INFO

pytestmark = pytest.mark.anyio


async def test_waiting_for_a_service_that_does_not_come_tells_who_is_there(plane, config):
    async with FlowctlSession(INFO, config):
        await wait_registered(plane, "svc")
        with pytest.raises(AssertionError, match=r"other is not registered.* knows svc \(HEALTHY\)"):
            await wait_registered(plane, "other", timeout=0.01)
    with pytest.raises(
        AssertionError, match=r"svc is not registered as STARTING after 0\.01 s; the plane knows nobody"
    ):
        await plane.wait_registered("svc", Health.STARTING, timeout=0.01)


async def test_waiting_works_at_any_embedded_plane_and_at_a_session():
    async with EmbeddedControlPlane() as plane, FlowctlSession(INFO, config_for(plane)) as session:
        await wait_registered(plane, "svc")
        await wait_registered(session)
        with pytest.raises(UsageError, match="give a service_id"):
            await wait_registered(plane)
    with pytest.raises(AssertionError, match=r"svc .*closed"):
        await wait_registered(session)
    async with FlowctlSession(INFO, FlowctlConfig(enabled=False)) as session:
        with pytest.raises(AssertionError, match=r"svc .*degraded"):
            await wait_registered(session, timeout=0.01)


async def test_a_block_that_leaves_nothing_passes(plane, config):
    async with assert_no_leaks(), FlowctlSession(EchoProcessor(), config):
        await plane.wait_registered("echo-processor")


async def test_a_task_that_is_left_is_named():
    tasks = []
    with pytest.raises(AssertionError, match="left behind: task forgotten "):
        async with assert_no_leaks(within=0.05):
            tasks.append(asyncio.create_task(anyio.sleep(60), name="forgotten"))
    tasks[0].cancel()
    await asyncio.wait(tasks)


async def test_a_socket_and_a_thread_that_are_left_are_named():
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="flowctl_aio forgotten")
    sockets = []

    async def forget():
        async with assert_no_leaks(within=0.05):
            thread.start()
            sockets.append(socket.socket())

    with pytest.raises(AssertionError, match=r"thread flowctl_aio forgotten; file descriptor \d+ \(socket:"):
        await forget()
    sockets[0].close()
    end.set()
    thread.join()


async def test_what_goes_a_little_later_is_no_leak():
    async with assert_no_leaks():
        task = asyncio.create_task(anyio.sleep(0.1))
    assert task.done()


async def test_an_error_of_the_block_is_not_hidden_by_what_it_left():
    left = []

    async def fail():
        async with assert_no_leaks(within=0.05):
            left.append(asyncio.create_task(anyio.sleep(60)))
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await fail()
    left[0].cancel()
    await asyncio.wait(left)
