import logging
from contextlib import asynccontextmanager

import anyio
import grpc
import grpc.aio
import pytest
from anyio.lowlevel import checkpoint

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.plane.runs import RunStatus
from flowctl_aio.types import Health, ServiceType

pytestmark = pytest.mark.anyio

# Any lease will do for a test that waits for its end; a short one makes it a short test.
QUICK = {"heartbeat_ttl": 0.02, "janitor_interval": 0.01}
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


async def test_classic_round_trip():
    async with served() as (plane, classic, _):
        ack = await classic.Register(CLASSIC)
        assert ack.service_id == "src"
        assert list(ack.topic_names) == ["ledger.v1"]
        assert dict(ack.connection_info) == {"control_plane_endpoint": plane.endpoint}
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src", metrics={"n": 3.0, "tenth": 0.1}))

        status = await classic.GetServiceStatus(wire.ServiceInfo(service_id="src"))
        assert (status.service_id, status.component_id) == ("src", "src")
        assert status.service_type == wire.ServiceType.SERVICE_TYPE_SOURCE
        assert status.is_healthy
        assert dict(status.metrics) == {"n": 3.0, "tenth": 0.1}
        assert (await classic.ListServices(wire.Empty())).services == [status]
        (known,) = plane.services()
        assert (known.info.endpoint, known.info.max_inflight) == ("http://localhost:8088/health", 100)
        assert (known.info.name, known.info.version, known.info.description) == ("Source", "0.1", "")
        assert known.last_heartbeat.timestamp() == pytest.approx(status.last_heartbeat.ToNanoseconds() / 1e9)


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


async def test_a_classic_pipeline_stays_one_in_classic_and_is_unspecified_in_v1():
    async with served() as (_, classic, v1):
        pipeline = wire.ServiceType.SERVICE_TYPE_PIPELINE
        await classic.Register(wire.ServiceInfo(service_id="p", service_type=pipeline))
        assert (await classic.GetServiceStatus(wire.ServiceInfo(component_id="p"))).service_type == pipeline
        (listed,) = (await v1.ListComponents(wire.v1.ListComponentsRequest())).components
        assert listed.component.type == wire.v1.ComponentType.COMPONENT_TYPE_UNSPECIFIED


async def test_sinks_are_assigned_no_topics():
    async with served() as (_, classic, _):
        info = wire.ServiceInfo(
            service_id="s", service_type=wire.ServiceType.SERVICE_TYPE_SINK, output_event_types=["x"]
        )
        assert not (await classic.Register(info)).topic_names


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


async def test_a_run_from_start_to_end():
    async with served() as (plane, classic, _):
        run = await classic.CreatePipelineRun(
            wire.CreatePipelineRunRequest(run_id="r1", pipeline_name="p", config_yaml="a: 1", component_ids=["src"])
        )
        assert (run.run_id, run.pipeline_id, run.pipeline_name) == ("r1", "p", "p")
        assert run.status == wire.RunStatus.RUN_STATUS_STARTING
        assert run.HasField("start_time")
        assert not run.HasField("end_time")
        assert not run.HasField("metrics")

        metrics = wire.RunMetrics(events_processed=7, component_metrics={"src": wire.ComponentMetrics(events_out=7)})
        await classic.UpdatePipelineRun(
            wire.UpdatePipelineRunRequest(run_id="r1", status=wire.RunStatus.RUN_STATUS_RUNNING, metrics=metrics)
        )
        ended = await classic.UpdatePipelineRun(
            wire.UpdatePipelineRunRequest(run_id="r1", status=wire.RunStatus.RUN_STATUS_FAILED, error="disk full")
        )
        assert (ended.status, ended.error) == (wire.RunStatus.RUN_STATUS_FAILED, "disk full")
        assert ended.metrics == metrics
        assert ended.HasField("end_time")
        assert await classic.GetPipelineRun(wire.GetPipelineRunRequest(run_id="r1")) == ended
        assert [(known.run_id, known.status) for known in plane.runs()] == [("r1", RunStatus.FAILED)]


async def test_runs_are_listed_newest_first_and_stopped():
    async with served() as (_, classic, _):
        for n in range(12):
            await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id=f"r{n}", pipeline_name=f"p{n % 2}"))
        stopped = await classic.StopPipelineRun(wire.StopPipelineRunRequest(run_id="r4"))
        assert stopped.status == wire.RunStatus.RUN_STATUS_STOPPED
        assert stopped.HasField("end_time")

        async def listed(**filters):
            answer = await classic.ListPipelineRuns(wire.ListPipelineRunsRequest(**filters))
            return [run.run_id for run in answer.runs]

        assert await listed() == [f"r{n}" for n in range(11, 1, -1)]
        assert await listed(limit=100, pipeline_name="p1") == ["r11", "r9", "r7", "r5", "r3", "r1"]
        assert await listed(status=wire.RunStatus.RUN_STATUS_STOPPED) == ["r4"]


async def test_runs_that_are_not_there_or_there_already():
    async with served() as (_, classic, _):
        create = wire.CreatePipelineRunRequest(run_id="r1")
        await classic.CreatePipelineRun(create)
        assert await refused(classic.CreatePipelineRun(create)) == (
            "ALREADY_EXISTS",
            "pipeline run already exists: r1",
        )
        missing = ("NOT_FOUND", "pipeline run not found: x")
        assert await refused(classic.GetPipelineRun(wire.GetPipelineRunRequest(run_id="x"))) == missing
        assert await refused(classic.StopPipelineRun(wire.StopPipelineRunRequest(run_id="x"))) == missing
        assert await refused(classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest(run_id="x"))) == (
            "NOT_FOUND",
            "failed to update pipeline run: pipeline run not found: x",
        )


async def test_the_janitor_ends_a_lease_and_an_explicit_beat_brings_it_back(caplog):
    caplog.set_level(logging.INFO, "flowctl_aio.plane")
    async with served(**QUICK) as (plane, _, v1):
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR))
        await plane.wait_for_service("ttp", health=Health.UNHEALTHY)
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp"))
        assert plane.services()[0].health is Health.UNHEALTHY
        healthy = wire.v1.HealthStatus.HEALTH_STATUS_HEALTHY
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp", status=healthy))
        # The log, because by now the lease may have lapsed again.
        assert "ttp went from UNHEALTHY to HEALTHY: by a heartbeat" in caplog.messages


async def test_a_classic_beat_brings_a_lapsed_service_back(caplog):
    caplog.set_level(logging.INFO, "flowctl_aio.plane")
    async with served(**QUICK) as (plane, classic, _):
        await classic.Register(CLASSIC)
        await plane.wait_for_service("src", health=Health.UNHEALTHY)
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))
        assert "src went from UNHEALTHY to HEALTHY: by a heartbeat" in caplog.messages


async def test_waiting_for_a_service_ends_when_it_registers():
    async with served() as (plane, classic, _):
        seen = []

        async def wait():
            seen.append(await plane.wait_for_service("src"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await classic.Register(wire.ServiceInfo(service_id="other"))
            assert seen == []
            await classic.Register(CLASSIC)
        assert [status.service_id for status in seen] == ["src"]


async def test_a_beat_is_a_change_and_so_is_a_departure():
    async with served() as (plane, classic, v1):
        await classic.Register(CLASSIC)
        before = plane.services()[0].last_heartbeat
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plane.wait_until, lambda: plane.services()[0].last_heartbeat > before)
            await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plane.wait_until, lambda: not plane.services())
            await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="src"))


async def test_a_wait_that_is_cancelled_leaves_nothing_behind():
    async with served() as (plane, classic, _):
        with anyio.move_on_after(0.01) as scope:
            await plane.wait_for_service("src")
        assert scope.cancelled_caught
        await classic.Register(CLASSIC)
        assert (await plane.wait_for_service("src")).health is Health.HEALTHY


async def test_who_waits_hears_of_the_end():
    plane = EmbeddedControlPlane()
    async with plane:
        outcome = []

        async def wait():
            with pytest.raises(UsageError, match="not running"):
                await plane.wait_for_service("never")
            outcome.append("told")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await checkpoint()
            await plane.__aexit__(None, None, None)
        assert outcome == ["told"]


async def test_a_stopped_plane_tells_what_it_knew():
    async with served() as (plane, classic, _):
        await classic.Register(CLASSIC)
        await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id="r1"))
    assert [status.service_id for status in plane.services()] == ["src"]
    assert [run.run_id for run in plane.runs()] == ["r1"]
    assert (await plane.wait_for_service("src")).service_id == "src"
    with pytest.raises(UsageError):
        await plane.wait_changed()


async def test_a_new_plane_takes_the_port_at_once_and_knows_nobody():
    async with EmbeddedControlPlane() as plane:
        port = plane.port
        async with stubs(plane) as (classic, _):
            await classic.Register(CLASSIC)
            for _ in range(5):
                await plane.__aexit__(None, None, None)
                plane = EmbeddedControlPlane(f"127.0.0.1:{port}")
                async with plane:
                    assert plane.port == port
                    beat = classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"), wait_for_ready=True, timeout=30)
                    assert await refused(beat) == ("NOT_FOUND", "service src not found")
                    assert dict((await classic.Register(CLASSIC)).connection_info) == {
                        "control_plane_endpoint": f"127.0.0.1:{port}"
                    }


async def test_a_call_to_a_stopped_plane_finds_nobody():
    async with EmbeddedControlPlane() as plane, stubs(plane) as (classic, _):
        await classic.Register(CLASSIC)
        await plane.__aexit__(None, None, None)
        assert (await refused(classic.ListServices(wire.Empty())))[0] == "UNAVAILABLE"


async def test_a_port_that_is_taken_is_the_users_error():
    async with EmbeddedControlPlane() as plane:
        with pytest.raises(ConfigError, match="cannot listen on"):
            async with EmbeddedControlPlane(plane.endpoint):
                pass
        async with stubs(plane) as (classic, _):
            assert not (await classic.ListServices(wire.Empty())).services


async def test_other_machines_are_let_in_only_on_request():
    with pytest.raises(ConfigError, match="insecure=True"):
        async with EmbeddedControlPlane("0.0.0.0:0"):
            pass
    async with EmbeddedControlPlane("0.0.0.0:0", insecure=True) as plane:
        assert plane.port > 0


async def test_a_unix_socket_will_do(tmp_path):
    async with served(address=f"unix://{tmp_path}/plane.sock") as (plane, classic, _):
        await classic.Register(CLASSIC)
        assert plane.endpoint == f"unix://{tmp_path}/plane.sock"


async def test_a_unix_socket_has_no_port(tmp_path):
    async with EmbeddedControlPlane(f"unix://{tmp_path}/plane.sock") as plane:
        assert plane.port == 0


@pytest.mark.parametrize("setting", ["heartbeat_ttl", "janitor_interval"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_times_must_be_above_zero(setting, seconds):
    with pytest.raises(ConfigError, match=setting):
        EmbeddedControlPlane(**{setting: seconds})


async def test_a_plane_is_entered_once_and_has_no_endpoint_before():
    plane = EmbeddedControlPlane()
    with pytest.raises(UsageError):
        plane.endpoint  # noqa: B018 - asking is the test
    async with plane:
        assert repr(plane) == f"<EmbeddedControlPlane listening at {plane.endpoint}>"
        with pytest.raises(UsageError):
            await plane.__aenter__()
    assert repr(plane) == f"<EmbeddedControlPlane stopped at {plane.endpoint}>"
    with pytest.raises(UsageError):
        await plane.__aenter__()


async def test_a_plane_may_be_entered_in_one_task_and_left_in_another():
    plane = EmbeddedControlPlane()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plane.__aenter__)
    async with stubs(plane) as (classic, _):
        await classic.Register(CLASSIC)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plane.__aexit__, None, None, None)
    async with EmbeddedControlPlane(plane.endpoint):
        assert not plane.is_running()


async def test_an_error_in_the_block_comes_out_as_itself():
    with pytest.raises(KeyError, match="mine"):
        async with EmbeddedControlPlane():
            raise KeyError("mine")


async def test_leaving_under_cancellation_frees_the_port():
    with anyio.CancelScope() as scope:
        async with EmbeddedControlPlane() as plane:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    async with EmbeddedControlPlane(plane.endpoint) as successor:
        assert successor.port == plane.port


async def test_cancelling_the_start_leaves_no_server():
    plane = EmbeddedControlPlane()
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with plane:
            pytest.fail("it must not start")
    assert not plane.is_running()
