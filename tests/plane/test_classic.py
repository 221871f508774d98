"""Claims about what only the classic dialect has: pipelines, topics of their own, and runs."""

import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.plane.runs import RunStatus

from .calls import CLASSIC, refused, served

pytestmark = pytest.mark.anyio


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
