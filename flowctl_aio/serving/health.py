"""How a component is → `grpc.health.v1.Health`, which Kubernetes and load balancers ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio

from flowctl_aio.serving.served import Served
from flowctl_aio.transport.server import ServerCall, ServerStreamMethod, Services, UnaryMethod
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Health

NAME = "grpc.health.v1.Health"
WELL = frozenset({Health.UNKNOWN, Health.HEALTHY, Health.DEGRADED})
# Nobody announces that a component's health has changed, so those who watch it are told within this time.
WATCH_INTERVAL = 1.0
MAX_WATCHERS = 64


def health_services(
    served: Served[Any],
    services: Iterable[str],
    *,
    watch_interval: float = WATCH_INTERVAL,
    max_watchers: int = MAX_WATCHERS,
) -> Services:
    """The health service of the server that serves `services`, each under its own name and all under the empty one.

    From the moment that the component is stopping it answers NOT_SERVING, and every watch ends with that.
    Empty without the extra `health`: then nobody is asked, and nobody need be told.

    Source: the gRPC health checking protocol, `grpc.health.v1`.
    """
    try:
        from grpc_health.v1 import health_pb2 as messages  # type: ignore[import-untyped]
    except ImportError:
        return {}
    names = frozenset({"", *services, NAME})
    statuses = messages.HealthCheckResponse
    watchers = anyio.CapacityLimiter(max_watchers)

    def status() -> Any:
        is_well = not served.stopping.is_set() and served.health() in WELL
        return statuses.SERVING if is_well else statuses.NOT_SERVING

    async def check(request: Any) -> Any:
        if request.service not in names:
            raise Refused("NOT_FOUND", f"no service {request.service[:200]!r} here")
        return messages.HealthCheckResponse(status=status())

    async def list_all(request: Any) -> Any:
        answer = messages.HealthListResponse()
        for name in names:
            answer.statuses[name].status = status()
        return answer

    async def watch(request: Any, call: ServerCall) -> None:
        try:
            watchers.acquire_on_behalf_of_nowait(call)
        except anyio.WouldBlock:
            raise Refused("RESOURCE_EXHAUSTED", f"{max_watchers} watch already") from None
        try:
            told = None
            while True:
                # A watch that went on would hold the drain up until its limit.
                is_last = served.stopping.is_set()
                now = status() if request.service in names else statuses.SERVICE_UNKNOWN
                if now != told:
                    await call.write(messages.HealthCheckResponse(status=now).SerializeToString())
                    told = now
                if is_last:
                    return
                with anyio.move_on_after(watch_interval):
                    await served.stopping.wait()
        finally:
            watchers.release_on_behalf_of(call)

    return {
        NAME: {
            "Check": UnaryMethod(check, messages.HealthCheckRequest),
            "List": UnaryMethod(list_all, messages.HealthListRequest),
            "Watch": ServerStreamMethod(watch, messages.HealthCheckRequest),
        }
    }
