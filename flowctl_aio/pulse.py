"""What a service says of itself with each heartbeat and on its health pages: how it is, and its numbers."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flowctl_aio.component import Component
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.plane import refresh_beat
from flowctl_aio.control.registration import Registration
from flowctl_aio.control.vitals import Limits, Verdict, Vitals, assess
from flowctl_aio.observe.lag import LoopLag
from flowctl_aio.observe.process import ResidentMemory
from flowctl_aio.observe.rate import Rate
from flowctl_aio.observe.repeats import Repeats
from flowctl_aio.observe.standard import Facts, standard_metrics
from flowctl_aio.provider import Metrics, Provider, checked_numbers
from flowctl_aio.serving import Served
from flowctl_aio.types import Health, ServiceInfo

logger = logging.getLogger(__name__)
# Over how long faults are counted against a component, in seconds.
FAULT_WINDOW = 60.0
# Between two looks at the lag of the loop, in seconds; a lag is told too short by so much at most.
LAG_INTERVAL = 2.5


class Pulse:
    """Health and numbers of one service. Nothing here raises: who fails to say how he is goes on beating, and says so.

    Args:
        lifecycle: of its session.
        component: what is served; None if nothing is.
        metrics: numbers beside the component's own.

    Attributes:
        health: what to say instead of what is found; None leaves it to the component and the measurements.
        lag: of the event loop; somebody has to run it.
        registration: whose counts to tell, once there is one.
        served: whose streams to count, once it is served.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        component: Component | None,
        metrics: Metrics | None,
        info: ServiceInfo,
        config: FlowctlConfig,
    ) -> None:
        self.health: Health | None = None
        self.registration: Registration | None = None
        self.served: Served[Any] | None = None
        # To wake an idle process for a look costs as much as a beat, so no more looks than the limit needs.
        self.lag = LoopLag(info.component_id, interval=min(LAG_INTERVAL, config.loop_lag_timeout / 2))
        self._lifecycle, self._component, self._info = lifecycle, component, info
        self._provider = Provider(info.component_id, metrics, timeout=config.metrics_timeout)
        self._limits = Limits(
            loop_lag=config.loop_lag_timeout, stall=config.stall_timeout, error_rate=config.max_error_rate
        )
        self._repeats = Repeats(logger, fields={"component_id": info.component_id})
        self._rows, self._done, self._faults = Rate(), Rate(FAULT_WINDOW), Rate(FAULT_WINDOW)
        self._memory = ResidentMemory()
        self._said = Health.HEALTHY
        self._seen = Vitals()
        self._born = time.monotonic()

    async def take(self) -> tuple[Health, Mapping[str, float]]:
        """What the next beat says. Waits for the provider, for as long as it may take.

        Cancellation: safe at any point.
        """
        await self._provider.ask()
        return self.read_health(), self.read_metrics()

    def freshen(self, beat: Any) -> None:
        """Bring a beat up to date that goes out while the loop is blocked. Called from the thread that sends it."""
        health = Health.STOPPING if self._lifecycle.state is State.DRAINING else self.health
        if health is None:
            # The loop's own counts may change under a thread that looks at them, so it takes what the loop last saw.
            stalled_for = self.served.work.longest if self.served is not None else 0.0
            seen = replace(self._seen, loop_lag=self.lag.seconds, stalled_for=stalled_for)
            health = assess(seen, self._limits).health
        refresh_beat(beat, health, {"loop_lag_seconds": self.lag.seconds, "uptime_seconds": self.uptime})

    @property
    def uptime(self) -> float:
        """Seconds since the session was made."""
        return time.monotonic() - self._born

    def read_health(self) -> Health:
        """How the service is."""
        return self.verdict().health

    def verdict(self) -> Verdict:
        """How the service is, and what speaks against a better word."""
        self._said = self._probe()
        if self._lifecycle.state is State.DRAINING:
            return Verdict(Health.STOPPING, ("it is draining",))
        if self.health is not None:
            return Verdict(self.health, () if self.health is Health.HEALTHY else ("it was set so",))
        self._seen = self._vitals()
        return assess(self._seen, self._limits)

    def read_metrics(self) -> dict[str, float]:
        """The standard numbers, the session's, the component's, and the provider's last ones; the later win."""
        component = self.read_component()
        standard = standard_metrics(self._info.service_type, self._facts(component))
        return {**standard, **self._own(), **component, **self._provider.last}

    def read_component(self) -> dict[str, float]:
        """The component's own numbers."""
        if self._component is None:
            return {}
        try:
            return checked_numbers(self._component.metrics())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's code may raise anything
            self._repeats.failed("metrics", "%s: its metrics failed: %r", self._info.component_id, error)
            return {}

    def _own(self) -> dict[str, float]:
        registration = self.registration
        if registration is None:
            return {}
        standby = registration.standby_beats
        return {
            **({} if standby is None else {"heartbeats_standby_total": standby}),
            "registrations_total": registration.registrations,
            "heartbeats_total": registration.beats,
            "heartbeats_missed_total": registration.missed_beats,
            "heartbeats_rejected_total": registration.rejected_beats,
            "foreign_instances_total": registration.foreign_instances,
        }

    def _facts(self, own: Mapping[str, float]) -> Facts:
        now, served = time.monotonic(), self.served
        up = self._lifecycle.state is not State.DRAINING and self._said is not Health.UNHEALTHY
        bare = Facts(uptime=self.uptime, is_up=up, loop_lag=self.lag.seconds, rss=self._memory.read())
        if served is None:
            return bare
        traffic, work = served.traffic, served.work
        self._rows.note(traffic.rows_in or traffic.rows_out, now)
        return replace(
            bare,
            batches_in=traffic.batches_in,
            rows_in=traffic.rows_in,
            bytes_in=traffic.bytes_in,
            batches_out=traffic.batches_out,
            rows_out=traffic.rows_out,
            bytes_out=traffic.bytes_out,
            faults=traffic.faults,
            invalid=traffic.invalid,
            failed=traffic.failed,
            retries=traffic.retries,
            streams=traffic.streams,
            streams_total=traffic.streams_total,
            rows_per_second=self._rows.per_second(now),
            inflight=served.waiting + len(work),
            max_inflight=served.limit,
            queue_depth=served.waiting,
            processing=work.seconds,
            latency=work.latency,
            since_last=work.since_last,
            # Of a sink; only it can know them.
            files_written=_count(own, "files_written_total"),
            bytes_written=_count(own, "bytes_written_total"),
            websocket_connections=_count(own, "websocket_connections"),
        )

    def _vitals(self) -> Vitals:
        if self.served is None:
            return Vitals(said=self._said, loop_lag=self.lag.seconds)
        now, work, faults = time.monotonic(), self.served.work, self.served.traffic.faults
        self._done.note(work.done, now)
        self._faults.note(faults, now)
        return Vitals(
            said=self._said,
            loop_lag=self.lag.seconds,
            stalled_for=work.longest,
            attempts=min(work.done, self._done.per_second(now) * FAULT_WINDOW),
            faults=min(faults, self._faults.per_second(now) * FAULT_WINDOW),
        )

    def _probe(self) -> Health:
        if self._component is None:
            return Health.HEALTHY
        try:
            return Health(self._component.health())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's code may raise anything
            self._repeats.failed("probe", "%s: the health probe failed: %r", self._info.component_id, error)
            return Health.UNHEALTHY


def _count(numbers: Mapping[str, float], name: str) -> int | None:
    return int(numbers[name]) if name in numbers and math.isfinite(numbers[name]) else None
