"""The small unary methods around each data service: who are you, are you well, please stop."""

from __future__ import annotations

from typing import Any

from flowctl_aio import _wire as wire
from flowctl_aio.control.messages import info_to_v1, metrics_to_v1
from flowctl_aio.serving.served import Served
from flowctl_aio.streams.handshake import own_offer
from flowctl_aio.transport.server import Method, UnaryMethod
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Health


def classic_identity(served: Served[Any]) -> dict[str, Method]:
    """`Ping` and `Shutdown`. The answer to Ping carries our capabilities as metadata."""

    async def ping(request: wire.Empty) -> wire.Pong:
        return wire.Pong(version=served.info.version, healthy=served.health() is Health.HEALTHY)

    async def shutdown(request: wire.ShutdownRequest) -> wire.Empty:
        # Whoever can dial a data port could otherwise stop the service.
        raise Refused("PERMISSION_DENIED", "this service does not stop on request of a peer")

    return {
        "Ping": UnaryMethod(ping, wire.Empty, own_offer(served.config).metadata),
        "Shutdown": UnaryMethod(shutdown, wire.ShutdownRequest),
    }


def v1_identity(served: Served[Any]) -> dict[str, Method]:
    """`GetInfo` and `HealthCheck`. The answer to GetInfo carries our capabilities as metadata."""

    async def get_info(request: wire.Empty) -> wire.v1.ComponentInfo:
        return info_to_v1(served.info)

    async def health_check(request: wire.v1.HealthCheckRequest) -> wire.v1.HealthCheckResponse:
        health = served.health()
        answer = wire.v1.HealthCheckResponse(status=wire.v1.HealthStatus.ValueType(health), message=health.name)
        if request.include_details:
            answer.metrics.update(metrics_to_v1(served.metrics()))
        return answer

    return {
        "GetInfo": UnaryMethod(get_info, wire.Empty, own_offer(served.config).metadata),
        "HealthCheck": UnaryMethod(health_check, wire.v1.HealthCheckRequest),
    }
