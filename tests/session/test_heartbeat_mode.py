"""Beats while user code blocks the loop: held up in one mode, sent by a thread in the other."""

from __future__ import annotations

import json
import threading
import time

import anyio.lowlevel
import pytest
from anyio import to_thread

from flowctl_aio import FlowctlConfig, FlowctlSession, State
from tests.scenarios.conftest import CommandLine
from tests.scenarios.conftest import cli as cli

from .conftest import INFO

pytestmark = pytest.mark.anyio
INTERVAL = 0.2


@pytest.fixture
async def plane_process(cli: CommandLine) -> str:
    """The endpoint of a plane whose loop is not ours, so that it hears while ours is blocked."""
    process = cli.start("plane", "--bind", "127.0.0.1:0")
    line = await to_thread.run_sync(process.stdout.readline)
    endpoint: str = json.loads(line)["endpoint"]
    return endpoint


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "flowctl_aio" in thread.name]


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_a_thread_beats_while_the_loop_is_blocked(plane_process, until, dialect):
    config = FlowctlConfig(
        endpoint=plane_process,
        heartbeat_interval=INTERVAL,
        heartbeat_mode="thread",
        dialect=dialect,
        loop_lag_timeout=0.5,
    )
    async with FlowctlSession(INFO, config) as session:
        await until(lambda: session.metrics()["heartbeats_total"] >= 1)
        assert threads() == ["flowctl_aio beats of svc"]
        time.sleep(6 * INTERVAL)  # noqa: ASYNC251 - the fault under test
        assert session.metrics()["heartbeats_standby_total"] >= 3
        assert session.state is State.REGISTERED
        # The loop takes over again, and the thread has nothing more to do.
        seen = session.metrics()["heartbeats_total"]
        await until(lambda: session.metrics()["heartbeats_total"] >= seen + 3)
        [status] = await session.list_services()
        assert status.metrics["loop_lag_seconds"] > 3 * INTERVAL
    assert threads() == []


async def test_the_loop_alone_sends_none_while_it_is_blocked(plane_process, until):
    async with FlowctlSession(INFO, FlowctlConfig(endpoint=plane_process, heartbeat_interval=INTERVAL)) as session:
        await until(lambda: session.metrics()["heartbeats_total"] >= 1)
        before = session.metrics()["heartbeats_total"]
        time.sleep(6 * INTERVAL)  # noqa: ASYNC251 - the fault under test
        assert session.metrics()["heartbeats_total"] == before
        assert "heartbeats_standby_total" not in session.metrics()


async def test_a_thread_of_a_plane_that_is_away_is_no_trouble(free_port):
    config = FlowctlConfig(
        endpoint=f"127.0.0.1:{free_port}", heartbeat_interval=0.05, heartbeat_mode="thread", heartbeat_timeout=0.5
    )
    async with FlowctlSession(INFO, config) as session:
        time.sleep(0.2)  # noqa: ASYNC251 - the fault under test
        assert session.state is State.DEGRADED
        await anyio.lowlevel.checkpoint()
    assert threads() == []
