"""The classic dialect of a plane: `flowctl.ControlPlane` over the registry, the runs and the chunk runs.

A real flowctl translates classic requests to v1 and loses half on the way. Here the dialect is whole, unless the
rules say otherwise: metrics are kept, `GetServiceStatus` answers, and `ListServices` tells health, last beat
and metrics as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

from flowctl_aio import _wire as wire
from flowctl_aio.control.messages import info_from_classic
from flowctl_aio.plane.chunks import DEFAULT_LIMIT as CHUNK_LIMIT
from flowctl_aio.plane.chunks import Chunks
from flowctl_aio.plane.methods import Desk, connection_info, in_slices, topics_of
from flowctl_aio.plane.registry import Registry
from flowctl_aio.plane.runs import DEFAULT_LIMIT, Runs, RunStatus, run_to_wire
from flowctl_aio.transport.server import UnaryMethod
from flowctl_aio.transport.status import Refused

SERVICE = "flowctl.ControlPlane"


class ClassicControlPlane:
    """Answers classic requests. `endpoint` tells where the plane can be dialled."""

    def __init__(
        self,
        registry: Registry,
        runs: Runs,
        endpoint: Callable[[], str],
        chunks: Chunks | None = None,
        desk: Desk | None = None,
    ) -> None:
        self._registry, self._runs, self._endpoint = registry, runs, endpoint
        self._chunks, self._desk = chunks or Chunks(), desk or Desk()
        self._rules = self._desk.rules

    def methods(self) -> Mapping[str, UnaryMethod]:
        asking, changing = self._desk.asking, self._desk.changing
        methods = {
            "Register": changing(self._register, wire.ServiceInfo),
            "Heartbeat": changing(self._beat, wire.ServiceHeartbeat, "service_id"),
            "GetServiceStatus": asking(self._status, wire.ServiceInfo),
            "ListServices": asking(self._list, wire.Empty),
            "CreatePipelineRun": changing(self._create_run, wire.CreatePipelineRunRequest, "run_id"),
            "UpdatePipelineRun": changing(self._update_run, wire.UpdatePipelineRunRequest, "run_id"),
            "GetPipelineRun": asking(self._get_run, wire.GetPipelineRunRequest, "run_id"),
            "ListPipelineRuns": asking(self._list_runs, wire.ListPipelineRunsRequest),
            "StopPipelineRun": changing(self._stop_run, wire.StopPipelineRunRequest, "run_id"),
        }
        chunk_methods = {
            "UpsertChunkRun": changing(self._upsert_chunk, wire.UpsertChunkRunRequest, "chunk"),
            "GetChunkRun": asking(self._get_chunk, wire.GetChunkRunRequest, "chunk_id"),
            "ListChunkRuns": asking(self._list_chunks, wire.ListChunkRunsRequest),
        }
        if not self._rules.has_chunks:
            chunk_methods = {name: _unknown(name, method) for name, method in chunk_methods.items()}
        return methods | chunk_methods

    def _register(self, request: wire.ServiceInfo) -> wire.RegistrationAck:
        info = self._rules.classic_info(info_from_classic(request))
        entry = self._registry.register(info, request.service_id)
        if not self._rules.classic_ack:
            return wire.RegistrationAck(service_id=entry.service_id)
        return wire.RegistrationAck(
            service_id=entry.service_id,
            topic_names=topics_of(entry.info),
            connection_info=connection_info(self._rules.connection or self._endpoint()),
        )

    def _beat(self, request: wire.ServiceHeartbeat) -> wire.Empty:
        # The sender's timestamp is not used: leases go by one clock, the plane's.
        metrics = request.metrics.items() if self._rules.classic_metrics else ()
        self._registry.beat(
            request.service_id,
            health=self._rules.classic_health,
            metrics={name: repr(value) for name, value in metrics},
        )
        return wire.Empty()

    def _status(self, request: wire.ServiceInfo) -> wire.ServiceStatus:
        if not self._rules.classic_get_status:
            raise Refused("UNKNOWN", "GetServiceStatus not implemented")
        service_id = request.service_id or request.component_id  # as registering chooses the key
        if not service_id:
            raise Refused("INVALID_ARGUMENT", "service_id is empty")
        return self._rules.classic_status(self._registry.entry(service_id))

    async def _list(self, request: wire.Empty) -> wire.ServiceList:
        answer = wire.ServiceList()
        async for statuses in in_slices(self._registry.entries(), self._rules.classic_status):
            answer.services.extend(statuses)
        return answer

    def _create_run(self, request: wire.CreatePipelineRunRequest) -> wire.PipelineRun:
        run = self._runs.create(
            request.run_id,
            pipeline_name=request.pipeline_name,
            config_yaml=request.config_yaml,
            component_ids=request.component_ids,
        )
        return run_to_wire(run)

    def _update_run(self, request: wire.UpdatePipelineRunRequest) -> wire.PipelineRun:
        run = self._runs.update(
            request.run_id,
            status=RunStatus(request.status),
            metrics=request.metrics if request.HasField("metrics") else None,
            error=request.error,
        )
        return run_to_wire(run)

    def _get_run(self, request: wire.GetPipelineRunRequest) -> wire.PipelineRun:
        return run_to_wire(self._runs.get(request.run_id))

    def _list_runs(self, request: wire.ListPipelineRunsRequest) -> wire.ListPipelineRunsResponse:
        found = self._runs.latest(
            pipeline_name=request.pipeline_name,
            status=RunStatus(request.status),
            limit=request.limit or DEFAULT_LIMIT,
        )
        return wire.ListPipelineRunsResponse(runs=[run_to_wire(run) for run in found])

    def _stop_run(self, request: wire.StopPipelineRunRequest) -> wire.PipelineRun:
        return run_to_wire(self._runs.stop(request.run_id))

    def _upsert_chunk(self, request: wire.UpsertChunkRunRequest) -> wire.ChunkRun:
        return self._chunks.upsert(request.chunk)

    def _get_chunk(self, request: wire.GetChunkRunRequest) -> wire.ChunkRun:
        return self._chunks.get(request.chunk_id)

    def _list_chunks(self, request: wire.ListChunkRunsRequest) -> wire.ListChunkRunsResponse:
        found = self._chunks.latest(
            pipeline_run_id=request.pipeline_run_id,
            component_id=request.component_id,
            status=request.status,
            limit=request.limit or CHUNK_LIMIT,
        )
        return wire.ListChunkRunsResponse(chunks=found)


def _unknown(name: str, method: UnaryMethod) -> UnaryMethod:
    """How a plane answers that was made before there was such a method."""

    async def refuse(request: object) -> NoReturn:
        raise Refused("UNIMPLEMENTED", f"unknown method {name} for service {SERVICE}")

    return replace(method, handle=refuse)
