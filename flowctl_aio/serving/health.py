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
    health = _HealthService(served, frozenset({"", *services, NAME}), messages, watch_interval, max_watchers)
    return {
        NAME: {
            "Check": UnaryMethod(health.check, messages.HealthCheckRequest),
            "List": UnaryMethod(health.list, messages.HealthListRequest),
            "Watch": ServerStreamMethod(health.watch, messages.HealthCheckRequest),
        }
    }


class _HealthService:
    def __init__(
        self, served: Served[Any], names: frozenset[str], messages: Any, watch_interval: float, max_watchers: int
    ) -> None:
        self._served, self._names, self._messages = served, names, messages
        self._statuses = messages.HealthCheckResponse
        self._watch_interval, self._max_watchers = watch_interval, max_watchers
        self._watchers = 0

    async def check(self, request: Any) -> Any:
        if request.service not in self._names:
            raise Refused("NOT_FOUND", f"no service {request.service[:200]!r} here")
        return self._statuses(status=self._status())

    async def list(self, request: Any) -> Any:
        answer = self._messages.HealthListResponse()
        for name in self._names:
            answer.statuses[name].status = self._status()
        return answer

    async def watch(self, request: Any, call: ServerCall) -> None:
        if self._watchers >= self._max_watchers:
            raise Refused("RESOURCE_EXHAUSTED", f"{self._max_watchers} watch already")
        self._watchers += 1
        try:
            await self._tell_changes(request.service, call)
        finally:
            self._watchers -= 1

    async def _tell_changes(self, service: str, call: ServerCall) -> None:
        told = None
        while True:
            # A watch that went on would hold the drain up until its limit.
            is_last = self._served.stopping.is_set()
            now = self._status() if service in self._names else self._statuses.SERVICE_UNKNOWN
            if now != told:
                await call.write(self._statuses(status=now).SerializeToString())
                told = now
            if is_last:
                return
            with anyio.move_on_after(self._watch_interval):
                await self._served.stopping.wait()

    def _status(self) -> Any:
        is_well = not self._served.stopping.is_set() and self._served.health() in WELL
        return self._statuses.SERVING if is_well else self._statuses.NOT_SERVING
