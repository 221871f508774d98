"""Many sessions, and a plane that is killed and comes back again and again: all are healed, nothing is left, no storm.

`pytest tests/scenarios/test_soak.py --soak-seconds 3600 --soak-sessions 500` soaks for longer;
`--log-file soak.log --log-file-level INFO` tells how long it took each time.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import to_thread

from flowctl_aio import FlowctlConfig, FlowctlSession, Health, ServiceInfo, ServiceType, State
from flowctl_aio.testing import PlaneUnderTest, assert_no_leaks

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(0)]  # the limit is in the test, which knows how long it runs

logger = logging.getLogger(__name__)
INTERVAL = 2.0
BUCKET = 0.1


def config_at(endpoint: str) -> FlowctlConfig:
    return FlowctlConfig(endpoint=endpoint, heartbeat_interval=INTERVAL, query_max_age=0.0, drain_timeout=2.0)


@asynccontextmanager
async def open_sessions(count: int, endpoint: str) -> AsyncIterator[list[FlowctlSession]]:
    """So many sessions, each in a task of its own."""
    sessions = [
        FlowctlSession(ServiceInfo(f"svc-{number}", ServiceType.PIPELINE), config_at(endpoint))
        for number in range(count)
    ]
    end = anyio.Event()

    async def live(session: FlowctlSession, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with session:
            task_status.started()
            await end.wait()

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as starting:
            for session in sessions:
                starting.start_soon(tasks.start, live, session)
        yield sessions
        end.set()


class PlaneProcess:
    """`flowctl-aio plane` as a process, always at the same port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Return when it listens."""
        command = [sys.executable, "-m", "flowctl_aio", "plane", "--bind", self.endpoint]
        self._process = await to_thread.run_sync(lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        line = await to_thread.run_sync(self._process.stdout.readline)
        assert json.loads(line)["endpoint"] == self.endpoint

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def plane_process():
    plane = PlaneProcess()
    yield plane
    plane.kill()


async def wait_all_registered(sessions: list[FlowctlSession]) -> None:
    """Return when the plane holds every session for healthy, and every session knows that it is registered."""
    ids = {session.info.component_id for session in sessions}
    while True:
        for session in sessions:
            await session.wait_for(State.REGISTERED)
        healthy = {status.service_id for status in await sessions[0].list_services() if status.health is Health.HEALTHY}
        if ids <= healthy and all(session.state is State.REGISTERED for session in sessions):
            return
        await anyio.sleep(0.05)


async def test_every_session_is_registered_again_within_two_intervals_of_each_return(plane_process, request):
    count, restarts = request.config.getoption("soak_sessions"), request.config.getoption("soak_restarts")
    seconds = request.config.getoption("soak_seconds")
    end = anyio.current_time() + seconds
    took: list[float] = []
    with anyio.fail_after(60 + 10 * restarts + 2 * seconds):
        async with assert_no_leaks(within=5):
            await plane_process.start()
            async with open_sessions(count, plane_process.endpoint) as sessions:
                await wait_all_registered(sessions)
                while len(took) < restarts or anyio.current_time() < end:
                    plane_process.kill()
                    # Back before anybody has noticed, after some have, and after all have.
                    await anyio.sleep((0.0, 0.4, 1.0)[len(took) % 3] * INTERVAL)
                    await plane_process.start()
                    back = anyio.current_time()
                    with anyio.fail_after(2 * INTERVAL):
                        await wait_all_registered(sessions)
                    took.append(round(anyio.current_time() - back, 2))
            plane_process.kill()
    logger.info("%d sessions were registered again after %s s", count, took)


async def test_a_plane_that_comes_back_meets_no_storm(request):
    count = request.config.getoption("soak_sessions")
    with anyio.fail_after(90):
        async with (
            assert_no_leaks(within=5),
            PlaneUnderTest() as plane,
            open_sessions(count, plane.endpoint) as sessions,
        ):
            await wait_all_registered(sessions)
            await plane.down()
            for session in sessions:
                await session.wait_for(State.DEGRADED)
            await anyio.sleep(INTERVAL)
            plane.arrivals.clear()
            await plane.up()
            back = anyio.current_time()
            await wait_all_registered(sessions)
            await anyio.sleep_until(back + 3 * INTERVAL)
            calls = Counter(int((arrival.moment - back) / BUCKET) for arrival in plane.arrivals)
    buckets = [calls[bucket] for bucket in range(int(3 * INTERVAL / BUCKET))]
    logger.info("calls per 100 ms after the return: %s", buckets)
    first, second, third = batched(buckets, int(INTERVAL / BUCKET))
    # A beat that is not known, a registration, a beat, and as much again for those that were under way.
    assert sum(first) <= 6 * count
    assert sum(second) <= 3 * count
    assert sum(third) <= 2 * count
    # All at once would be all in one bucket.
    for interval in (first, second, third):
        assert max(interval) <= sum(interval) / 3


def batched(buckets: list[int], size: int) -> list[list[int]]:
    return [buckets[begin : begin + size] for begin in range(0, len(buckets), size)]
