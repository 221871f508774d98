"""The v1 dialect of a plane: `flowctl.v1.ControlPlaneService` over the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowctl_aio import _wire as wire
from flowctl_aio.codec.plain import timestamp_to_wire
from flowctl_aio.control.messages import info_from_v1, info_to_v1
from flowctl_aio.plane.entry import Entry
from flowctl_aio.plane.methods import Desk, connection_info, in_slices, topics_of
from flowctl_aio.plane.registry import Registry
from flowctl_aio.transport.server import UnaryMethod
from flowctl_aio.types import Health, ServiceType

# By number; quicker than the enum for what is asked with each beat.
_HEALTH = tuple(Health)
SERVICE = "flowctl.v1.ControlPlaneService"


class V1ControlPlane:
    """Answers v1 requests. `endpoint` tells where the plane can be dialled."""

    def __init__(self, registry: Registry, endpoint: Callable[[], str], desk: Desk | None = None) -> None:
        self._registry, self._endpoint = registry, endpoint
        self._desk = desk or Desk()

    def methods(self) -> Mapping[str, UnaryMethod]:
        asking, changing = self._desk.asking, self._desk.changing
        return {
            "RegisterComponent": changing(self._register, wire.v1.RegisterRequest, "component"),
            "UnregisterComponent": changing(self._unregister, wire.v1.UnregisterRequest, "service_id"),
            "DiscoverComponents": asking(self._discover, wire.v1.DiscoveryRequest),
            "Heartbeat": changing(self._beat, wire.v1.HeartbeatRequest, "service_id"),
            "GetComponentStatus": asking(self._status, wire.v1.ComponentStatusRequest, "service_id"),
            "ListComponents": asking(self._list, wire.v1.ListComponentsRequest),
        }

    def _register(self, request: wire.v1.RegisterRequest) -> wire.v1.RegisterResponse:
        entry = self._registry.register(info_from_v1(request.component), request.component_id)
        return wire.v1.RegisterResponse(
            service_id=entry.service_id,
            assigned_topics=topics_of(entry.info),
            connection_info=connection_info(self._desk.rules.connection or self._endpoint()),
        )

    def _unregister(self, request: wire.v1.UnregisterRequest) -> wire.Empty:
        self._registry.unregister(request.service_id)
        return wire.Empty()

    async def _discover(self, request: wire.v1.DiscoveryRequest) -> wire.v1.DiscoveryResponse:
        found = self._registry.discover(
            service_type=ServiceType(request.type),
            event_types=request.event_types,
            metadata=dict(request.metadata_filters),
        )
        answer = wire.v1.DiscoveryResponse()
        async for infos in in_slices(found, lambda entry: info_to_v1(entry.info)):
            answer.components.extend(infos)
        return answer

    def _beat(self, request: wire.v1.HeartbeatRequest) -> wire.Empty:
        self._registry.beat(
            request.service_id,
            health=_HEALTH[request.status],
            metrics=request.metrics,
            encoded=request.SerializeToString,
        )
        return wire.Empty()

    def _status(self, request: wire.v1.ComponentStatusRequest) -> wire.v1.ComponentStatusResponse:
        return _status_to_wire(self._registry.entry(request.service_id))

    async def _list(self, request: wire.v1.ListComponentsRequest) -> wire.v1.ListComponentsResponse:
        entries = self._registry.entries(
            service_type=ServiceType(request.type_filter), include_unhealthy=request.include_unhealthy
        )
        answer = wire.v1.ListComponentsResponse()
        async for statuses in in_slices(entries, _status_to_wire):
            answer.components.extend(statuses)
        return answer


def _status_to_wire(entry: Entry) -> wire.v1.ComponentStatusResponse:
    return wire.v1.ComponentStatusResponse(
        component=info_to_v1(entry.info),
        status=wire.v1.HealthStatus.ValueType(entry.health),
        last_heartbeat=timestamp_to_wire(entry.last_heartbeat),
        metrics=entry.metrics.plain(),
        registered_at=timestamp_to_wire(entry.registered_at),
    )
