"""What a service says of itself with each heartbeat: how it is, and its numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from flowctl_aio.component import Component
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.registration import Registration
from flowctl_aio.serving import Traffic
from flowctl_aio.types import Health

logger = logging.getLogger(__name__)


class MetricsProvider(Protocol):
    """Whoever has numbers to send with each heartbeat."""

    def get_metrics(self) -> Mapping[str, float]: ...


Metrics: TypeAlias = MetricsProvider | Callable[[], Mapping[str, float]]


class Pulse:
    """Health and numbers of one service. Neither raises: who fails to say how he is goes on beating, and says so.

    Args:
        lifecycle: of its session.
        component: what is served; None if nothing is.
        provider: numbers beside the component's own.

    Attributes:
        health: what to say instead of what the component says; None to let it speak.
        registration: whose counts to tell, once there is one.
        traffic: gives the counts of the component's streams, once it is served.
    """

    def __init__(self, who: str, lifecycle: Lifecycle, component: Component | None, provider: Metrics | None) -> None:
        self.health: Health | None = None
        self.registration: Registration | None = None
        self.traffic: Callable[[], Traffic] | None = None
        self._who, self._lifecycle, self._component, self._provider = who, lifecycle, component, provider
        self._born = time.monotonic()

    def read(self) -> tuple[Health, dict[str, float]]:
        """What the next beat says."""
        return self.read_health(), self.read_metrics()

    def read_health(self) -> Health:
        """How the service is."""
        if self._lifecycle.state is State.DRAINING:
            return Health.STOPPING
        if self.health is not None:
            return self.health
        if self._component is None:
            return Health.HEALTHY
        try:
            return Health(self._component.health())
        except Exception:
            logger.exception("%s: the health probe failed", self._who)
            return Health.UNHEALTHY

    def read_metrics(self) -> dict[str, float]:
        """The session's numbers, the component's, and the provider's; the later ones win."""
        numbers: dict[str, float] = {"service_status": 1.0, "uptime_seconds": time.monotonic() - self._born}
        if self.registration is not None:
            numbers["registrations_total"] = self.registration.registrations
            numbers["heartbeats_total"] = self.registration.beats
            numbers["heartbeats_missed_total"] = self.registration.missed_beats
        if self.traffic is not None:
            traffic = self.traffic()
            numbers["streams"] = traffic.streams
            numbers["streams_total"] = traffic.streams_total
            numbers["errors_total"] = traffic.faults
            for name in ("batches", "rows", "bytes"):
                numbers[f"{name}_in_total"] = getattr(traffic, f"{name}_in")
                numbers[f"{name}_out_total"] = getattr(traffic, f"{name}_out")
        return {**numbers, **self.read_component(), **self._read(self._provider)}

    def read_component(self) -> dict[str, float]:
        """The component's own numbers."""
        return self._read(self._component.metrics if self._component is not None else None)

    def _read(self, provider: Metrics | None) -> dict[str, float]:
        if provider is None:
            return {}
        try:
            numbers: Mapping[str, Any] = provider() if callable(provider) else provider.get_metrics()
            return {name: float(number) for name, number in numbers.items()}
        except Exception:
            logger.exception("%s: the metrics provider failed", self._who)
            return {}
