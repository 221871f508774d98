"""A loop that was blocked: nothing of the session is lost by it."""

from __future__ import annotations

import sys
import threading
import time

import anyio
import anyio.to_thread
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.session import FlowctlSession
from flowctl_aio.types import ServiceInfo, ServiceType

from .conftest import Numbers

pytestmark = pytest.mark.anyio


async def test_t10_beats_come_again_after_the_loop_was_blocked(plane, config):
    async with FlowctlSession(ServiceInfo("blocked", ServiceType.PIPELINE), config) as session:
        time.sleep(3 * config.heartbeat_interval)  # noqa: ASYNC251 - the fault under test
        before = session.metrics()["heartbeats_total"]
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= before + 2)


async def test_a_thread_may_bring_a_beat_up_to_date_while_streams_come_and_go(config, serve):
    session = await serve(Numbers(), max_error_rate=0.5)
    pulse, faults, is_over = session._life.pulse, [], threading.Event()

    def freshen():
        while not is_over.is_set():
            try:
                pulse.freshen(wire.v1.HeartbeatRequest(service_id="numbers"))
            except Exception as fault:  # noqa: BLE001 - whatever it is, it would end the thread that beats
                faults.append(fault)

    thread, interval = threading.Thread(target=freshen), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        async with session.source(session.endpoint) as client:
            for _ in range(10):
                async with client.stream(1, 2) as stream:
                    assert len([batch async for batch in stream]) == 2
                for _ in range(300):
                    session.read_health()
    finally:
        sys.setswitchinterval(interval)
        is_over.set()
        await anyio.to_thread.run_sync(thread.join)
    assert faults == []
