"""What the tests register at a plane, and how they call it in both dialects."""

from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.plane import EmbeddedControlPlane

PROCESSOR = wire.v1.ComponentInfo(
    id="ttp",
    name="TTP",
    version="1.2",
    description="token transfers",
    type=wire.v1.ComponentType.COMPONENT_TYPE_PROCESSOR,
    input_event_types=["ledger"],
    output_event_types=["ttp"],
    endpoint="127.0.0.1:50051",
    metadata={"network": "testnet"},
)
CLASSIC = wire.ServiceInfo(
    service_id="src",
    component_id="src",
    service_type=wire.ServiceType.SERVICE_TYPE_SOURCE,
    output_event_types=["ledger"],
    health_endpoint="http://localhost:8088/health",
    max_inflight=100,
    metadata={"source_name": "Source", "version": "0.1", "network": "testnet"},
)
# Any lease will do for a test that waits for its end; a short one makes it a short test.
QUICK = {"heartbeat_ttl": 0.02, "janitor_interval": 0.01}


@asynccontextmanager
async def stubs(plane):
    async with grpc.aio.insecure_channel(
        plane.endpoint, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    ) as channel:
        yield wire.ControlPlaneStub(channel), wire.v1.ControlPlaneServiceStub(channel)


@asynccontextmanager
async def served(**settings):
    async with EmbeddedControlPlane(**settings) as plane, stubs(plane) as (classic, v1):
        yield plane, classic, v1


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details()
