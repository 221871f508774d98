"""Service values ⇄ the control messages of both dialects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from flowctl_aio import _wire as wire
from flowctl_aio.control.side_channel import PREFIX, read_side_channel
from flowctl_aio.types import Health, ServiceInfo, ServiceStatus, ServiceType, health_of, metrics_from_v1

# What the v1 message has no field for travels in its metadata.
MAX_INFLIGHT_KEY = "max_inflight"
NAME_KEYS = ("name", "version", "description")


def info_to_classic(info: ServiceInfo, service_id: str) -> wire.ServiceInfo:
    described = {key: getattr(info, key) for key in NAME_KEYS if getattr(info, key)}
    return wire.ServiceInfo(
        service_id=service_id,
        service_type=wire.ServiceType.ValueType(info.service_type),
        input_event_types=info.input_event_types,
        output_event_types=info.output_event_types,
        # A real plane dials this field as the data endpoint.
        health_endpoint=info.endpoint,
        max_inflight=info.max_inflight,
        metadata={**described, **info.metadata},
        component_id=info.component_id,
    )


def info_from_classic(message: wire.ServiceInfo) -> ServiceInfo:
    metadata = dict(message.metadata)
    return ServiceInfo(
        component_id=message.component_id or message.service_id,
        service_type=service_type(message.service_type),
        input_event_types=tuple(message.input_event_types),
        output_event_types=tuple(message.output_event_types),
        endpoint=message.health_endpoint,
        max_inflight=message.max_inflight,
        metadata=metadata,
        name=_described(metadata, "name"),
        version=_described(metadata, "version"),
        description=_described(metadata, "description"),
    )


def _described(metadata: Mapping[str, str], what: str) -> str:
    """Where a real plane looks for what the classic message has no field for."""
    keys = (f"processor_{what}", f"source_{what}", f"sink_{what}", what)
    return next((metadata[key] for key in keys if metadata.get(key)), "")


def info_to_v1(info: ServiceInfo) -> wire.v1.ComponentInfo:
    # The v1 enum has no pipeline: upstream maps it to unspecified.
    kind = 0 if info.service_type is ServiceType.PIPELINE else int(info.service_type)
    inflight = {MAX_INFLIGHT_KEY: str(info.max_inflight)} if info.max_inflight else {}
    return wire.v1.ComponentInfo(
        id=info.component_id,
        name=info.name,
        description=info.description,
        version=info.version,
        type=wire.v1.ComponentType.ValueType(kind),
        input_event_types=info.input_event_types,
        output_event_types=info.output_event_types,
        endpoint=info.endpoint,
        metadata={**inflight, **info.metadata},
    )


def info_from_v1(message: wire.v1.ComponentInfo) -> ServiceInfo:
    metadata = dict(message.metadata)
    inflight = metadata.pop(MAX_INFLIGHT_KEY, "0")
    return ServiceInfo(
        component_id=message.id,
        service_type=service_type(message.type),
        input_event_types=tuple(message.input_event_types),
        output_event_types=tuple(message.output_event_types),
        endpoint=message.endpoint,
        max_inflight=int(inflight) if inflight.isascii() and inflight.isdigit() and len(inflight) < 10 else 0,
        metadata=metadata,
        name=message.name,
        version=message.version,
        description=message.description,
    )


def status_from_classic(message: wire.ServiceStatus) -> ServiceStatus:
    bare = ServiceInfo(
        component_id=message.component_id or message.service_id, service_type=service_type(message.service_type)
    )
    info, metrics = read_side_channel(bare, message.metrics)
    # A real plane's classic list says "unhealthy" of everybody, so false means that it does not know.
    return ServiceStatus(
        service_id=message.service_id,
        info=info,
        health=Health.HEALTHY if message.is_healthy else Health.UNKNOWN,
        last_heartbeat=moment(message.last_heartbeat) if message.HasField("last_heartbeat") else None,
        metrics=metrics,
    )


def status_from_v1(message: wire.v1.ComponentStatusResponse) -> ServiceStatus:
    # Whoever beats in classic tells with its metrics what the plane knows from the registration, and tells it here.
    metrics = {name: value for name, value in message.metrics.items() if not name.startswith(PREFIX)}
    return ServiceStatus(
        service_id=message.component.id,
        info=info_from_v1(message.component),
        health=health_of(message.status),
        last_heartbeat=moment(message.last_heartbeat) if message.HasField("last_heartbeat") else None,
        registered_at=moment(message.registered_at) if message.HasField("registered_at") else None,
        metrics=metrics_from_v1(metrics),
    )


def metrics_to_classic(metrics: Mapping[str, float]) -> dict[str, float]:
    """Numbers that a dashboard can add up: what is not finite is left out."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def metrics_to_v1(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.17g}" for name, value in metrics_to_classic(metrics).items()}


def service_type(number: int) -> ServiceType:
    """Unspecified for a number that only a newer plane knows."""
    return ServiceType(number) if number in set(ServiceType) else ServiceType.UNSPECIFIED


def moment(stamp: Timestamp) -> datetime | None:
    """A moment that a plane sent; None where it lies outside the calendar."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
