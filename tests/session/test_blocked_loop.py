"""A loop that was blocked: nothing of the session is lost by it."""

from __future__ import annotations

import time

import anyio
import pytest

from flowctl_aio.session import FlowctlSession
from flowctl_aio.types import ServiceInfo, ServiceType

pytestmark = pytest.mark.anyio


async def test_t10_beats_come_again_after_the_loop_was_blocked(plane, config):
    async with FlowctlSession(ServiceInfo("blocked", ServiceType.PIPELINE), config) as session:
        time.sleep(3 * config.heartbeat_interval)  # noqa: ASYNC251 - the fault under test
        before = session.metrics()["heartbeats_total"]
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= before + 2)
