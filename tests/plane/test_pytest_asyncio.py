"""Fixtures of pytest-asyncio enter and leave in different tasks; the plane must not mind."""

import grpc.aio
import pytest
import pytest_asyncio

from flowctl_aio import _wire as wire
from flowctl_aio.plane import EmbeddedControlPlane


@pytest_asyncio.fixture
async def plane():
    async with EmbeddedControlPlane() as plane:
        yield plane


@pytest.mark.asyncio
async def test_a_plane_works_as_a_fixture_of_pytest_asyncio(plane):
    async with grpc.aio.insecure_channel(plane.endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ack = await wire.ControlPlaneStub(channel).Register(wire.ServiceInfo(service_id="src"))
    assert ack.service_id == "src"
    assert (await plane.wait_for_service("src")).service_id == "src"
