"""A plane that is away for long is greeted soon after its return: no pause between two attempts grows with the outage.

`pytest tests/scenarios/test_outage.py --outage-seconds 45` stays away for as long as gRPC's own pauses take to grow.
"""

from __future__ import annotations

import anyio
import pytest

from flowctl_aio import FlowctlSession, Health, ServiceInfo, ServiceType, State
from flowctl_aio.testing import PlaneUnderTest, config_for

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(0)]  # the outage may be long; what follows has a limit here
GREETED = 2.0


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_a_good_beat_follows_within_two_seconds_of_the_return(request, dialect):
    outage = request.config.getoption("--outage-seconds")
    async with PlaneUnderTest() as plane:
        config = config_for(plane, dialect=dialect, heartbeat_interval=10.0)
        async with FlowctlSession(ServiceInfo("svc", ServiceType.PIPELINE), config) as session:
            await plane.wait_registered("svc")
            await plane.down()
            await session.wait_for(State.DEGRADED, timeout=config.heartbeat_interval + 5)
            await anyio.sleep(outage)  # the fault under test
            await plane.up()
            with anyio.fail_after(GREETED):
                await plane.wait_registered("svc", Health.HEALTHY)
                await session.wait_for(State.REGISTERED)  # not before a beat was heard
