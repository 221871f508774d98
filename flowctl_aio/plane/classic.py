"""The classic dialect of a plane: `flowctl.ControlPlane` over the registry and the runs.

A real flowctl translates classic requests to v1 and loses half on the way. Here the dialect is whole:
metrics are kept, `GetServiceStatus` answers, and `ListServices` tells health, last beat and metrics as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowctl_aio import _wire as wire
from flowctl_aio.codec.plain import timestamp_to_wire
from flowctl_aio.control.messages import info_from_classic
from flowctl_aio.plane.methods import connection_info, topics_of, unary
from flowctl_aio.plane.registry import Entry, Registry
from flowctl_aio.plane.runs import DEFAULT_LIMIT, Run, Runs, RunStatus
from flowctl_aio.transport.server import UnaryMethod
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Health

SERVICE = "flowctl.ControlPlane"


class ClassicControlPlane:
    """Answers classic requests. `endpoint` tells where the plane can be dialled."""

    def __init__(self, registry: Registry, runs: Runs, endpoint: Callable[[], str]) -> None:
        self._registry, self._runs, self._endpoint = registry, runs, endpoint

    def methods(self) -> Mapping[str, UnaryMethod]:
        return {
            "Register": unary(self._register, wire.ServiceInfo),
            "Heartbeat": unary(self._beat, wire.ServiceHeartbeat, "service_id"),
            "GetServiceStatus": unary(self._status, wire.ServiceInfo),
            "ListServices": unary(self._list, wire.Empty),
            "CreatePipelineRun": unary(self._create_run, wire.CreatePipelineRunRequest, "run_id"),
            "UpdatePipelineRun": unary(self._update_run, wire.UpdatePipelineRunRequest, "run_id"),
            "GetPipelineRun": unary(self._get_run, wire.GetPipelineRunRequest, "run_id"),
            "ListPipelineRuns": unary(self._list_runs, wire.ListPipelineRunsRequest),
            "StopPipelineRun": unary(self._stop_run, wire.StopPipelineRunRequest, "run_id"),
        }

    def _register(self, request: wire.ServiceInfo) -> wire.RegistrationAck:
        entry = self._registry.register(info_from_classic(request), request.service_id)
        return wire.RegistrationAck(
            service_id=entry.service_id,
            topic_names=topics_of(entry.info),
            connection_info=connection_info(self._endpoint()),
        )

    def _beat(self, request: wire.ServiceHeartbeat) -> wire.Empty:
        # The sender's timestamp is not used: leases go by one clock, the plane's.
        metrics = {name: repr(value) for name, value in request.metrics.items()}
        self._registry.beat(request.service_id, health=None, metrics=metrics)
        return wire.Empty()

    def _status(self, request: wire.ServiceInfo) -> wire.ServiceStatus:
        service_id = request.service_id or request.component_id  # as registering chooses the key
        if not service_id:
            raise Refused("INVALID_ARGUMENT", "service_id is empty")
        return _status_to_wire(self._registry.entry(service_id))

    def _list(self, request: wire.Empty) -> wire.ServiceList:
        return wire.ServiceList(services=[_status_to_wire(entry) for entry in self._registry.entries()])

    def _create_run(self, request: wire.CreatePipelineRunRequest) -> wire.PipelineRun:
        run = self._runs.create(
            request.run_id,
            pipeline_name=request.pipeline_name,
            config_yaml=request.config_yaml,
            component_ids=request.component_ids,
        )
        return _run_to_wire(run)

    def _update_run(self, request: wire.UpdatePipelineRunRequest) -> wire.PipelineRun:
        run = self._runs.update(
            request.run_id,
            status=RunStatus(request.status),
            metrics=request.metrics if request.HasField("metrics") else None,
            error=request.error,
        )
        return _run_to_wire(run)

    def _get_run(self, request: wire.GetPipelineRunRequest) -> wire.PipelineRun:
        return _run_to_wire(self._runs.get(request.run_id))

    def _list_runs(self, request: wire.ListPipelineRunsRequest) -> wire.ListPipelineRunsResponse:
        found = self._runs.latest(
            pipeline_name=request.pipeline_name,
            status=RunStatus(request.status),
            limit=request.limit or DEFAULT_LIMIT,
        )
        return wire.ListPipelineRunsResponse(runs=[_run_to_wire(run) for run in found])

    def _stop_run(self, request: wire.StopPipelineRunRequest) -> wire.PipelineRun:
        return _run_to_wire(self._runs.stop(request.run_id))


def _status_to_wire(entry: Entry) -> wire.ServiceStatus:
    status = entry.status()
    return wire.ServiceStatus(
        service_id=status.service_id,
        service_type=wire.ServiceType.ValueType(status.info.service_type),
        is_healthy=status.health is Health.HEALTHY,
        last_heartbeat=timestamp_to_wire(status.last_heartbeat),
        metrics=status.metrics,
        component_id=status.info.component_id,
    )


def _run_to_wire(run: Run) -> wire.PipelineRun:
    return wire.PipelineRun(
        run_id=run.run_id,
        pipeline_id=run.pipeline_name,
        pipeline_name=run.pipeline_name,
        status=wire.RunStatus.ValueType(run.status),
        start_time=timestamp_to_wire(run.start_time),
        end_time=timestamp_to_wire(run.end_time),
        config_yaml=run.config_yaml,
        metrics=run.metrics,
        error=run.error,
        component_ids=run.component_ids,
    )
