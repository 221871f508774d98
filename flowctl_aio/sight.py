"""What of a session can be seen from outside: the view for its health pages, and upstream's monitor metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from flowctl_aio.control.clock import utc_now
from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.overview.rollup import pipeline_health, pipeline_metrics
from flowctl_aio.observe.meter import LabelValues, Meter
from flowctl_aio.observe.monitor import MonitorMetrics
from flowctl_aio.observe.view import HealthView
from flowctl_aio.pulse import Pulse
from flowctl_aio.transport.trunk import PoolStats
from flowctl_aio.types import Health, ServiceInfo, ServiceStatus

SERVING = (State.REGISTERED, State.DEGRADED)


class Sight:
    """Whoever looks at a session looks through this.

    Args:
        info: of the service, as it introduces itself.
        connections: to its peers, by endpoint.

    Attributes:
        view: for the health pages.
        monitor: upstream's metrics; filled as things happen, and when somebody looks.
    """

    def __init__(
        self,
        info: ServiceInfo,
        lifecycle: Lifecycle,
        pulse: Pulse,
        flow: FlowControl,
        connections: Callable[[], Mapping[str, PoolStats]],
    ) -> None:
        self._connections = connections
        self._info, self._lifecycle, self._pulse, self._flow = info, lifecycle, pulse, flow
        self._labels = {"service_id": info.component_id, "service_type": info.service_type.name.lower()}
        self._kinds: Mapping[str, str] = {}
        meter = Meter()
        self.monitor = MonitorMetrics(meter)
        self.view = HealthView(
            who=info.component_id,
            service_id=self._service_id,
            state=lambda: lifecycle.state.value,
            health=pulse.read_health,
            is_live=lambda: pulse.read_health() is not Health.UNHEALTHY,
            is_ready=lambda: lifecycle.state in SERVING and pulse.read_health() is not Health.UNHEALTHY,
            has_started=lambda: lifecycle.state not in (State.IDLE, State.CONNECTING),
            uptime=lambda: pulse.uptime,
            why_not=self._why_not,
            metrics=self._metrics,
            labels=lambda: self._labels,
            meter=meter,
        )

    def note_registration(self, reason: str) -> None:
        """The service registered anew, and why."""
        self.monitor.reconnections.add(service_id=self._info.component_id, reason=reason)

    def note_pipeline(self, statuses: Sequence[ServiceStatus], *, lease: float) -> None:
        """What the plane tells of all services; of nobody if it does not answer."""
        health = pipeline_health(statuses, now=utc_now(), lease=lease)
        metrics = pipeline_metrics(statuses, health=health)
        self._kinds = {status.service_id: status.info.service_type.name.lower() for status in statuses}
        latency = metrics.end_to_end_latency_ms
        self.monitor.throughput.set(metrics.total_throughput if statuses else math.nan)
        self.monitor.latency.set(math.nan if latency is None else latency / 1000)
        self.monitor.service_throughput.set_all(self._by_kind(metrics.throughput))
        self.monitor.service_queue_depth.set_all(self._by_kind(metrics.queue_depth))
        self.monitor.connections.set_all(
            {
                (service_id, one.status.info.endpoint): float(one.is_healthy)
                for service_id, one in health.services.items()
            }
        )

    def _by_kind(self, numbers: Mapping[str, float]) -> dict[LabelValues, float]:
        own = {self._info.component_id: self._labels["service_type"]}
        return {(key, self._kinds.get(key) or own.get(key, "")): number for key, number in numbers.items()}

    async def timed(self, ask: Callable[[], Awaitable[Sequence[ServiceStatus]]]) -> Sequence[ServiceStatus]:
        """Ask the plane for its services, and note how long that took.

        Cancellation: as `ask`.
        """
        began = time.perf_counter()
        answer = await ask()
        self.monitor.discovery_duration.observe(time.perf_counter() - began)
        return answer

    def _service_id(self) -> str:
        registration = self._pulse.registration
        return registration.service_id if registration is not None else self._info.component_id

    def _why_not(self) -> list[str]:
        lifecycle = self._lifecycle
        late = [f"{lifecycle.state.value}: {lifecycle.why}"] if lifecycle.state is State.DEGRADED else []
        return [*late, *self._pulse.verdict().reasons]

    def _metrics(self) -> dict[str, float]:
        self.monitor.backpressure_active.set(float(self._flow.is_backpressure_active))
        self.monitor.throttle_rate.set(self._flow.throttle_rate)
        self.monitor.load_ratio.set_all(self._by_kind(self._flow.service_loads()))
        pools = self._connections()
        self.monitor.pool_total.set_all({(endpoint,): one.total for endpoint, one in pools.items()})
        self.monitor.pool_healthy.set_all({(endpoint,): one.healthy for endpoint, one in pools.items()})
        self.monitor.pool_idle.set_all({(endpoint,): one.idle for endpoint, one in pools.items()})
        return self._pulse.read_metrics()
