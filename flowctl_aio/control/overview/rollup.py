"""The services of a pipeline taken together: how it is, and what it does. Pure; numbers are read with distrust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from flowctl_aio.control.discovery.matching import is_stale
from flowctl_aio.control.numbers import error_rate_of, load_of, number_of
from flowctl_aio.control.overview.graph import service_node, strong_groups
from flowctl_aio.control.overview.topology import Topology, topology_of
from flowctl_aio.types import Health, ServiceStatus


class Overall(Enum):
    """How a pipeline is: all healthy, some, none; unknown without services, and where none says how it is."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """How one service is.

    Attributes:
        is_healthy: it says HEALTHY, and its last heartbeat is no older than the lease.
        is_stale: that heartbeat is older.
        why: what speaks against it; empty if it is healthy.
    """

    status: ServiceStatus
    is_healthy: bool
    is_stale: bool
    why: str


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """How the services are, by id, and what follows for the whole."""

    overall: Overall
    services: Mapping[str, ServiceHealth]

    @property
    def healthy(self) -> int:
        return sum(service.is_healthy for service in self.services.values())

    @property
    def total(self) -> int:
        return len(self.services)

    @property
    def ratio(self) -> float:
        """The healthy part; 0 without services."""
        return self.healthy / self.total if self.services else 0.0


@dataclass(frozen=True, slots=True)
class PipelineMetrics:
    """What the services do, by id; whoever does not tell a number is missing there.

    Attributes:
        throughput: events per second (`events_per_second`).
        latency_ms: milliseconds an event spends in a service (`processing_latency_ms`).
        queue_depth: what waits in it (`queue_depth`).
        error_rate: errors per event (`errors_total`, `events_processed_total`).
        load: the part of its limit that is in flight (`inflight`, `max_inflight`).
        total_throughput: events per second that leave the pipeline: the sum over the services that feed nobody;
            where none of them tells it, what enters: the sum over those that nobody feeds.
        summed_throughput: the sum over all services, as the first controller had it; each stage counts again.
        end_to_end_latency_ms: the largest latency of one service, as the first controller had it; None if nobody tells.
        chain_latency_ms: the sum along the slowest way through the services; None if nobody tells.
    """

    throughput: Mapping[str, float]
    latency_ms: Mapping[str, float]
    queue_depth: Mapping[str, float]
    error_rate: Mapping[str, float]
    load: Mapping[str, float]
    total_throughput: float
    summed_throughput: float
    end_to_end_latency_ms: float | None
    chain_latency_ms: float | None


def pipeline_health(statuses: Iterable[ServiceStatus], *, now: datetime, lease: float) -> PipelineHealth:
    """How a pipeline is.

    Args:
        now: timezone-aware; compared with the heartbeat times.
        lease: seconds after which a silent service is not healthy, whatever the plane says of it.
    """
    services = {status.service_id: _service_health(status, now=now, lease=lease) for status in statuses}
    healthy = sum(service.is_healthy for service in services.values())
    if all(one.status.health is Health.UNKNOWN and not one.is_stale for one in services.values()):
        overall = Overall.UNKNOWN
    elif healthy == len(services):
        overall = Overall.HEALTHY
    else:
        overall = Overall.DEGRADED if healthy else Overall.UNHEALTHY
    return PipelineHealth(overall, services)


def _service_health(status: ServiceStatus, *, now: datetime, lease: float) -> ServiceHealth:
    reasons = []
    if status.health is not Health.HEALTHY:
        reasons.append(f"it is {status.health.name}")
    stale = is_stale(status, now=now, lease=lease)
    if stale and status.last_heartbeat is not None:
        silence = (now - status.last_heartbeat).total_seconds()
        reasons.append(f"its last heartbeat was {silence:.0f} s ago, and the lease is {lease:g} s")
    return ServiceHealth(status, not reasons, stale, " and ".join(reasons))


def pipeline_metrics(
    statuses: Sequence[ServiceStatus], topology: Topology | None = None, *, health: PipelineHealth | None = None
) -> PipelineMetrics:
    """What a pipeline does.

    Args:
        topology: of these services, if the caller has it already.
        health: of these services; given, the numbers of the stale ones are not counted, since nobody does now what
            they said then.
    """
    topology = topology or topology_of(statuses, max_edges=0, max_chains=0)
    stale = {key for key, one in health.services.items() if one.is_stale} if health is not None else set()
    telling = [status for status in statuses if status.service_id not in stale]
    throughput = _told({status.service_id: number_of(status, "events_per_second") for status in telling})
    latency = _told({status.service_id: number_of(status, "processing_latency_ms") for status in telling})
    leaving = [throughput[key] for key in topology.ends if key in throughput]
    entering = [throughput[key] for key in topology.starts if key in throughput]
    return PipelineMetrics(
        throughput=throughput,
        latency_ms=latency,
        queue_depth=_told({status.service_id: number_of(status, "queue_depth") for status in telling}),
        error_rate=_told({status.service_id: error_rate_of(status) for status in telling}),
        load=_told({status.service_id: load_of(status) for status in telling}),
        total_throughput=sum(leaving or entering),
        summed_throughput=sum(throughput.values()),
        end_to_end_latency_ms=max(latency.values(), default=None),
        chain_latency_ms=_slowest_way(latency, topology) if latency else None,
    )


def _told(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {service_id: number for service_id, number in numbers.items() if number is not None}


def _slowest_way(latency: Mapping[str, float], topology: Topology) -> float:
    """The largest sum along any way; services of one circle count once each."""
    after = topology.graph.after
    cost = {service_node(service_id): milliseconds for service_id, milliseconds in latency.items()}
    slowest: dict[int, float] = {}
    group_of: dict[tuple[str, str], int] = {}
    for number, group in enumerate(strong_groups(after)):  # those further down come first
        group_of.update(dict.fromkeys(group, number))
        own = sum(cost.get(node, 0.0) for node in group)
        below = {group_of[neighbour] for node in group for neighbour in after[node]} - {number}
        slowest[number] = own + max((slowest[other] for other in below), default=0.0)
    return max(slowest.values(), default=0.0)
