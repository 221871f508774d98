"""Claims about a plane with the quirks of a real flowctl, and about what is the same with and without them."""

import logging

import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ConfigError
from flowctl_aio.types import Dialect, Health, ServiceType

from .calls import CLASSIC, PROCESSOR, QUICK, refused, served

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("quirks", [None, "flowctl"])
HEALTHY = wire.v1.HealthStatus.HEALTH_STATUS_HEALTHY
STARTING = wire.v1.HealthStatus.HEALTH_STATUS_STARTING


def register(component=PROCESSOR, component_id=""):
    return wire.v1.RegisterRequest(component=component, component_id=component_id)


def beat(service_id="ttp", **fields):
    return wire.v1.HeartbeatRequest(service_id=service_id, **fields)


# The same in both


@BOTH
async def test_a_lapsed_service_is_unhealthy_until_a_beat_says_healthy(quirks, caplog):
    caplog.set_level(logging.INFO, "flowctl_aio.plane")
    async with served(quirks=quirks, **QUICK) as (plane, _, v1):
        await v1.RegisterComponent(register())
        await plane.wait_for_service("ttp", health=Health.UNHEALTHY)
        await v1.Heartbeat(beat())
        assert plane.services()[0].health is Health.UNHEALTHY
        await v1.Heartbeat(beat(status=HEALTHY))
        assert "ttp went from UNHEALTHY to HEALTHY: by a heartbeat" in caplog.messages
        await plane.wait_for_service("ttp", health=Health.UNHEALTHY)
        await v1.RegisterComponent(register())
        assert caplog.messages[-1] == "ttp registered again"


@BOTH
async def test_the_janitor_touches_only_who_is_healthy(quirks):
    async with served(quirks=quirks, **QUICK) as (plane, _, v1):
        await v1.RegisterComponent(register())
        await v1.Heartbeat(beat(status=STARTING))
        await v1.RegisterComponent(register(wire.v1.ComponentInfo(id="other")))
        await plane.wait_for_service("other", health=Health.UNHEALTHY)
        assert plane.services()[0].health is Health.STARTING


@BOTH
async def test_not_found_is_told_from_any_other_refusal_by_its_words(quirks):
    async with served(quirks=quirks) as (_, classic, v1):
        calls = [
            v1.Heartbeat(beat("x")),
            v1.GetComponentStatus(wire.v1.ComponentStatusRequest(service_id="x")),
            classic.Heartbeat(wire.ServiceHeartbeat(service_id="x")),
            classic.GetPipelineRun(wire.GetPipelineRunRequest(run_id="x")),
            classic.StopPipelineRun(wire.StopPipelineRunRequest(run_id="x")),
            classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest(run_id="x")),
        ]
        for call in calls:
            code, details = await refused(call)
            assert code == ("UNKNOWN" if quirks else "NOT_FOUND")
            assert "not found" in details
        code, details = await refused(v1.RegisterComponent(register(component_id="a\nb")))
        assert code == ("UNKNOWN" if quirks else "INVALID_ARGUMENT")
        assert "not found" not in details


@BOTH
async def test_both_dialects_register_beat_and_list_the_same_services(quirks):
    async with served(quirks=quirks) as (plane, classic, v1):
        assert (await classic.Register(CLASSIC)).service_id == "src"
        assert (await v1.RegisterComponent(register())).service_id == "ttp"
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="ttp"))
        await v1.Heartbeat(beat("src", status=HEALTHY))
        assert {known.service_id for known in (await classic.ListServices(wire.Empty())).services} == {"src", "ttp"}
        listed = await v1.ListComponents(wire.v1.ListComponentsRequest())
        assert {known.component.id for known in listed.components} == {"src", "ttp"}
        await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="src"))
        await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="src"))
        assert [status.service_id for status in plane.services()] == ["ttp"]


@BOTH
async def test_registering_again_overwrites_status_metrics_and_time(quirks):
    async with served(quirks=quirks) as (plane, _, v1):
        await v1.RegisterComponent(register())
        await v1.Heartbeat(beat(status=STARTING, metrics={"n": "1"}))
        before = plane.services()[0]
        await v1.RegisterComponent(register())
        after = plane.services()[0]
        assert (before.health, before.metrics) == (Health.STARTING, {"n": 1.0})
        assert (after.health, after.metrics) == (Health.HEALTHY, {})
        assert after.registered_at > before.registered_at


@pytest.mark.parametrize(
    ("quirks", "answer"),
    [(None, ("INVALID_ARGUMENT", "component is missing")), ("flowctl", ("UNAVAILABLE", "Socket closed"))],
)
async def test_a_registration_without_component_is_refused_and_the_plane_lives_on(quirks, answer):
    async with served(quirks=quirks) as (plane, _, v1):
        request = wire.v1.RegisterRequest(component_id="x")
        assert await refused(v1.RegisterComponent(request)) == answer
        await v1.RegisterComponent(register())
        assert [status.service_id for status in plane.services()] == ["ttp"]


@BOTH
async def test_a_message_above_4_mib_is_refused(quirks):
    async with served(quirks=quirks) as (_, _, v1):
        request = register(wire.v1.ComponentInfo(id="x", description="x" * 5 * 1024 * 1024))
        assert (await refused(v1.RegisterComponent(request)))[0] == "RESOURCE_EXHAUSTED"


# As wrong as a real one


async def test_a_classic_beat_neither_heals_nor_brings_metrics():
    async with served(quirks="flowctl", **QUICK) as (plane, classic, v1):
        await classic.Register(CLASSIC)
        await plane.wait_for_service("src", health=Health.UNHEALTHY)
        before = plane.services()[0].last_heartbeat
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src", metrics={"n": 1.0}))
        status = await v1.GetComponentStatus(wire.v1.ComponentStatusRequest(service_id="src"))
        assert status.status == wire.v1.HealthStatus.HEALTH_STATUS_UNHEALTHY
        assert not status.metrics
        assert plane.services()[0].last_heartbeat > before


async def test_the_classic_list_knows_ids_and_types_only():
    async with served(quirks="flowctl") as (_, classic, v1):
        await classic.Register(wire.ServiceInfo(service_id="src-1", component_id="src", service_type=1))
        await v1.Heartbeat(beat("src-1", status=HEALTHY, metrics={"n": "1"}))
        (listed,) = (await classic.ListServices(wire.Empty())).services
        assert listed == wire.ServiceStatus(service_id="src", component_id="src", service_type=1)


async def test_the_classic_registration_loses_what_v1_lacks_and_is_told_only_its_id():
    async with served(quirks="flowctl") as (plane, classic, _):
        info = wire.ServiceInfo()
        info.CopyFrom(CLASSIC)
        info.service_type = wire.ServiceType.SERVICE_TYPE_PIPELINE
        assert await classic.Register(info) == wire.RegistrationAck(service_id="src")
        known = plane.services()[0].info
        assert (known.max_inflight, known.service_type) == (0, ServiceType.UNSPECIFIED)
        assert (known.name, known.endpoint) == ("Source", "http://localhost:8088/health")


async def test_one_service_cannot_be_asked_for_in_classic():
    async with served(quirks="flowctl") as (_, classic, _):
        await classic.Register(CLASSIC)
        assert await refused(classic.GetServiceStatus(wire.ServiceInfo(service_id="src"))) == (
            "UNKNOWN",
            "GetServiceStatus not implemented",
        )


async def test_topics_and_connection_are_fiction():
    async with served(quirks="flowctl") as (plane, _, v1):
        component = wire.v1.ComponentInfo(id="s", type=1, output_event_types=["stellar.ledger.v1"])
        ack = await v1.RegisterComponent(register(component))
        assert list(ack.assigned_topics) == ["stellar.ledger.v1.v1"]
        assert dict(ack.connection_info) == {"control_plane_endpoint": "localhost:8080"}
        assert plane.endpoint != "localhost:8080"


async def test_a_registration_without_ids_has_a_blank_record_in_memory_and_fails_on_a_file(tmp_path):
    async with served(quirks="flowctl") as (_, classic, v1):
        ack = await classic.Register(wire.ServiceInfo(service_type=2))
        assert ack.service_id.startswith("COMPONENT_TYPE_PROCESSOR-")
        (listed,) = (await classic.ListServices(wire.Empty())).services
        assert (listed.service_id, listed.component_id) == ("", "")
        await v1.Heartbeat(beat(ack.service_id))
    async with served(quirks="flowctl", db=tmp_path / "plane.db") as (plane, classic, _):
        assert await refused(classic.Register(wire.ServiceInfo())) == ("UNKNOWN", "key required")
        assert plane.services() == []


async def test_a_service_whose_ids_differ_is_lost_at_a_restart(tmp_path):
    async with served(quirks="flowctl", db=tmp_path / "plane.db") as (_, classic, _):
        await classic.Register(wire.ServiceInfo(service_id="src-1", component_id="src"))
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src-1"))
    async with served(quirks="flowctl", db=tmp_path / "plane.db") as (plane, classic, _):
        assert await refused(classic.Heartbeat(wire.ServiceHeartbeat(service_id="src-1"))) == (
            "UNKNOWN",
            "service src-1 not found",
        )
        assert [status.service_id for status in plane.services()] == ["src"]


async def test_a_heartbeat_without_an_id_is_not_found():
    async with served(quirks="flowctl") as (_, _, v1):
        assert await refused(v1.Heartbeat(beat(""))) == ("UNKNOWN", "service  not found")
        await v1.UnregisterComponent(wire.v1.UnregisterRequest())


async def test_runs_are_overwritten_revived_and_listed_by_their_ids():
    async with served(quirks="flowctl") as (_, classic, _):
        for run_id in ("b", "a", "c", "a"):
            await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id=run_id, pipeline_name=run_id))
        listed = (await classic.ListPipelineRuns(wire.ListPipelineRunsRequest())).runs
        assert [run.run_id for run in listed] == ["a", "b", "c"]
        await classic.StopPipelineRun(wire.StopPipelineRunRequest(run_id="a"))
        running = wire.RunStatus.RUN_STATUS_RUNNING
        run = await classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest(run_id="a", status=running))
        assert run.status == running
        assert await refused(classic.CreatePipelineRun(wire.CreatePipelineRunRequest())) == ("UNKNOWN", "key required")
        assert await refused(classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest(run_id="x"))) == (
            "UNKNOWN",
            "failed to update pipeline run: pipeline run not found: x",
        )


# Settings


async def test_a_plane_may_speak_one_dialect_only():
    async with served(dialects=[Dialect.CLASSIC]) as (_, classic, v1):
        await classic.Register(CLASSIC)
        assert (await refused(v1.RegisterComponent(register())))[0] == "UNIMPLEMENTED"
    async with served(dialects=[Dialect.V1]) as (_, classic, v1):
        await v1.RegisterComponent(register())
        assert (await refused(classic.Register(CLASSIC)))[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("settings", "text"), [({"quirks": "go"}, "nobody has the quirks 'go'"), ({"dialects": []}, "one dialect at least")]
)
async def test_settings_that_mean_nothing_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        async with served(**settings):
            pass
