"""A plane with faults and settings for it, in the loop of this suite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowctl_aio import FlowctlConfig, ServiceInfo, ServiceType
from flowctl_aio.testing import PlaneUnderTest, config_for

INFO = ServiceInfo("svc", ServiceType.PIPELINE)


@pytest.fixture
async def plane() -> AsyncIterator[PlaneUnderTest]:
    async with PlaneUnderTest() as plane:
        yield plane


@pytest.fixture(params=["v1", "classic"])
def config(plane: PlaneUnderTest, request: pytest.FixtureRequest) -> FlowctlConfig:
    return config_for(plane, dialect=request.param)
