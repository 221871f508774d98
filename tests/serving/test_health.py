"""The health service, asked by the stub that everybody has, of a real server."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from flowctl_aio import FlowctlConfig
from flowctl_aio.component import Processor
from flowctl_aio.serving import Served, services_of
from flowctl_aio.serving.health import health_services
from flowctl_aio.transport.server import open_server
from flowctl_aio.types import Health

pytestmark = pytest.mark.anyio
SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)


class Echo(Processor):
    async def process(self, batch):
        return batch


@pytest.fixture
def served():
    told = SimpleNamespace(health=Health.HEALTHY)
    served = Served(
        Echo(),
        Echo().info(),
        FlowctlConfig(),
        health=lambda: told.health,
        metrics=dict,
        on_fault=lambda error: None,
    )
    return SimpleNamespace(served=served, told=told)


@asynccontextmanager
async def stub_of(served, **bounds) -> AsyncIterator[SimpleNamespace]:
    services = dict(services_of(served))
    services.update(health_services(served, services, watch_interval=0.01, **bounds))
    async with open_server(services) as server, grpc.aio.insecure_channel(server.endpoint) as channel:
        yield SimpleNamespace(stub=health_pb2_grpc.HealthStub(channel), server=server)


def ask(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


async def test_every_service_and_the_whole_are_well(served):
    async with stub_of(served.served) as its:
        for service in ("", "flowctl.EventProcessor", "flowctl.v1.ProcessorService", "grpc.health.v1.Health"):
            assert (await its.stub.Check(ask(service))).status == SERVING
        listed = await its.stub.List(health_pb2.HealthListRequest())
        assert {name: answer.status for name, answer in listed.statuses.items()} == dict.fromkeys(
            ("", "flowctl.EventProcessor", "flowctl.v1.ProcessorService", "grpc.health.v1.Health"), SERVING
        )


@pytest.mark.parametrize(
    ("health", "status"),
    [
        (Health.UNKNOWN, SERVING),
        (Health.STARTING, NOT_SERVING),
        (Health.HEALTHY, SERVING),
        (Health.DEGRADED, SERVING),
        (Health.UNHEALTHY, NOT_SERVING),
        (Health.STOPPING, NOT_SERVING),
    ],
)
async def test_the_status_follows_the_health(served, health, status):
    served.told.health = health
    async with stub_of(served.served) as its:
        assert (await its.stub.Check(ask())).status == status


async def test_a_component_that_drains_does_not_serve_before_its_server_stops(served):
    async with stub_of(served.served) as its:
        served.served.stopping.set()
        assert (await its.stub.Check(ask())).status == NOT_SERVING


async def test_a_service_that_is_not_here_is_not_found(served):
    async with stub_of(served.served) as its:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await its.stub.Check(ask("nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "'nobody'" in caught.value.details()


async def test_a_watch_tells_each_change_and_ends_with_the_drain(served):
    async with stub_of(served.served) as its:
        watch = its.stub.Watch(ask("flowctl.EventProcessor"))
        with anyio.fail_after(5):
            assert (await watch.read()).status == SERVING
            served.told.health = Health.UNHEALTHY
            assert (await watch.read()).status == NOT_SERVING
            served.told.health = Health.DEGRADED
            assert (await watch.read()).status == SERVING
            served.served.stopping.set()
            assert (await watch.read()).status == NOT_SERVING
            assert await watch.read() is grpc.aio.EOF
            assert await watch.code() is grpc.StatusCode.OK
            await its.server.drain(60)  # nothing holds it up


async def test_a_watch_of_a_service_that_is_not_here_says_so_and_ends_with_the_drain(served):
    async with stub_of(served.served) as its:
        watch = its.stub.Watch(ask("nobody"))
        with anyio.fail_after(5):
            assert (await watch.read()).status == UNKNOWN
            served.served.stopping.set()
            assert await watch.read() is grpc.aio.EOF


async def test_a_watch_that_begins_while_draining_tells_once(served):
    served.served.stopping.set()
    async with stub_of(served.served) as its:
        with anyio.fail_after(5):
            assert [answer.status async for answer in its.stub.Watch(ask())] == [NOT_SERVING]


async def test_watchers_are_bounded_and_those_who_leave_make_room(served, until):
    async with stub_of(served.served, max_watchers=2) as its:
        watches = [its.stub.Watch(ask()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await its.stub.Watch(ask()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches[0].cancel()
        with anyio.fail_after(5):
            while True:
                try:
                    again = its.stub.Watch(ask())
                    assert (await again.read()).status == SERVING
                    break
                except grpc.aio.AioRpcError:
                    await anyio.sleep(0.01)
        for watch in (*watches, again):
            watch.cancel()


async def test_without_the_extra_nothing_is_served(served, monkeypatch, caplog):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("grpc_health"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert health_services(served.served, ()) == {}
    assert not caplog.records
