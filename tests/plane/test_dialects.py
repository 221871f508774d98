"""Claims about a served plane: both dialects see the same services, and are refused in the same words."""

import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.types import ServiceType

from .calls import CLASSIC, PROCESSOR, refused, served

pytestmark = pytest.mark.anyio


async def test_v1_round_trip():
    async with served() as (plane, _, v1):
        ack = await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR, component_id="ttp"))
        assert ack.service_id == "ttp"
        assert list(ack.assigned_topics) == ["ttp.v1"]
        assert dict(ack.connection_info) == {"control_plane_endpoint": plane.endpoint}

        beat = wire.v1.HeartbeatRequest(
            service_id="ttp", status=wire.v1.HealthStatus.HEALTH_STATUS_DEGRADED, metrics={"n": "1", "mode": "live"}
        )
        assert await v1.Heartbeat(beat) == wire.Empty()
        status = await v1.GetComponentStatus(wire.v1.ComponentStatusRequest(service_id="ttp"))
        assert status.component == PROCESSOR
        assert status.status == wire.v1.HealthStatus.HEALTH_STATUS_DEGRADED
        assert dict(status.metrics) == {"n": "1", "mode": "live"}
        assert status.last_heartbeat.ToDatetime() >= status.registered_at.ToDatetime()

        assert (await v1.ListComponents(wire.v1.ListComponentsRequest(include_unhealthy=True))).components == [status]
        assert not (await v1.ListComponents(wire.v1.ListComponentsRequest())).components
        found = await v1.DiscoverComponents(
            wire.v1.DiscoveryRequest(event_types=["nothing", "ttp"], metadata_filters={"network": "testnet"})
        )
        assert found.components == [PROCESSOR]

        assert await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="ttp")) == wire.Empty()
        assert await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="ttp")) == wire.Empty()
        assert plane.services() == []


async def test_both_dialects_see_the_same_services():
    async with served() as (plane, classic, v1):
        await classic.Register(CLASSIC)
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR))
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="src", metrics={"n": "2.5", "mode": "live"}))
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="ttp", metrics={"n": 4}))

        of_classic = (await classic.ListServices(wire.Empty())).services
        of_v1 = (await v1.ListComponents(wire.v1.ListComponentsRequest())).components
        assert [service.service_id for service in of_classic] == ["src", "ttp"]
        assert [service.component.id for service in of_v1] == ["src", "ttp"]
        assert [dict(service.metrics) for service in of_classic] == [{"n": 2.5}, {"n": 4.0}]
        assert [dict(service.metrics) for service in of_v1] == [{"n": "2.5", "mode": "live"}, {"n": "4.0"}]
        assert [service.last_heartbeat for service in of_classic] == [service.last_heartbeat for service in of_v1]
        assert [status.info.service_type for status in plane.services()] == [ServiceType.SOURCE, ServiceType.PROCESSOR]

        await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="src"))
        assert [service.service_id for service in (await classic.ListServices(wire.Empty())).services] == ["ttp"]


async def test_ids_that_differ_are_one_key_in_both_dialects():
    async with served() as (_, classic, v1):
        await classic.Register(wire.ServiceInfo(service_id="src-1", component_id="src"))
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR, component_id="ttp-1"))
        listed = (await classic.ListServices(wire.Empty())).services
        assert [(service.service_id, service.component_id) for service in listed] == [
            ("src-1", "src"),
            ("ttp-1", "ttp"),
        ]
        for service_id in ("src-1", "ttp-1"):
            await classic.Heartbeat(wire.ServiceHeartbeat(service_id=service_id))
            await v1.GetComponentStatus(wire.v1.ComponentStatusRequest(service_id=service_id))
        assert (await refused(classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))))[0] == "NOT_FOUND"


async def test_a_registration_without_ids_gets_one_that_works():
    async with served() as (plane, classic, v1):
        first = (await classic.Register(wire.ServiceInfo(service_type=wire.ServiceType.SERVICE_TYPE_SINK))).service_id
        second = (await v1.RegisterComponent(wire.v1.RegisterRequest(component=wire.v1.ComponentInfo()))).service_id
        assert first.startswith("COMPONENT_TYPE_CONSUMER-")
        assert second.startswith("COMPONENT_TYPE_UNSPECIFIED-")
        for service_id in (first, second):
            await classic.Heartbeat(wire.ServiceHeartbeat(service_id=service_id))
        assert [status.info.component_id for status in plane.services()] == [first, second]


async def test_an_unknown_service_is_not_found():
    expected = ("NOT_FOUND", "service x not found")
    async with served() as (_, classic, v1):
        assert await refused(v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="x"))) == expected
        assert await refused(v1.GetComponentStatus(wire.v1.ComponentStatusRequest(service_id="x"))) == expected
        assert await refused(classic.Heartbeat(wire.ServiceHeartbeat(service_id="x"))) == expected
        assert await refused(classic.GetServiceStatus(wire.ServiceInfo(service_id="x"))) == expected


async def test_malformed_requests_are_refused_and_change_nothing():
    async with served() as (plane, classic, v1):
        calls = {
            "component is missing": v1.RegisterComponent(wire.v1.RegisterRequest(component_id="x")),
            "component.type is 7": v1.RegisterComponent(
                wire.v1.RegisterRequest(component=wire.v1.ComponentInfo(id="x", type=7))
            ),
            "component_id has a control": v1.RegisterComponent(
                wire.v1.RegisterRequest(component=PROCESSOR, component_id="a\nb")
            ),
            "max_inflight is negative": classic.Register(wire.ServiceInfo(service_id="x", max_inflight=-1)),
            "limit is negative": classic.ListPipelineRuns(wire.ListPipelineRunsRequest(limit=-1)),
        }
        for text, call in calls.items():
            code, details = await refused(call)
            assert code == "INVALID_ARGUMENT"
            assert details.startswith(text)
        for call in (
            v1.Heartbeat(wire.v1.HeartbeatRequest()),
            v1.UnregisterComponent(wire.v1.UnregisterRequest()),
            v1.GetComponentStatus(wire.v1.ComponentStatusRequest()),
            classic.Heartbeat(wire.ServiceHeartbeat()),
            classic.GetServiceStatus(wire.ServiceInfo()),
        ):
            assert await refused(call) == ("INVALID_ARGUMENT", "service_id is empty")
        for call in (
            classic.CreatePipelineRun(wire.CreatePipelineRunRequest(pipeline_name="p")),
            classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest()),
            classic.GetPipelineRun(wire.GetPipelineRunRequest()),
            classic.StopPipelineRun(wire.StopPipelineRunRequest()),
        ):
            assert await refused(call) == ("INVALID_ARGUMENT", "run_id is empty")
        assert plane.services() == []
        assert plane.runs() == []


async def test_a_message_above_4_mib_is_refused_before_it_is_read():
    async with served() as (plane, _, v1):
        request = wire.v1.RegisterRequest(component=wire.v1.ComponentInfo(id="x", description="x" * 5 * 1024 * 1024))
        assert (await refused(v1.RegisterComponent(request)))[0] == "RESOURCE_EXHAUSTED"
        assert plane.services() == []
