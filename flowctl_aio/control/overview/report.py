"""How a pipeline is, what it does and what to do about it, as one JSON document.

What cannot be had is null and named under `errors`; the rest stands all the same.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from flowctl_aio.control.clock import utc_now
from flowctl_aio.control.discovery.directory import ListServices
from flowctl_aio.control.flow.control import FlowState
from flowctl_aio.control.numbers import number_of
from flowctl_aio.control.overview.rollup import (
    PipelineHealth,
    PipelineMetrics,
    ServiceHealth,
    pipeline_health,
    pipeline_metrics,
)
from flowctl_aio.errors import FlowctlError

logger = logging.getLogger(__name__)

HIGH_LOAD = 0.8
HIGH_ERROR_RATE = 0.05
HIGH_LATENCY_MS = 5000.0
MAX_REASON = 500  # characters of an error
MOST_NAMED = 20  # services that one kind of advice names


async def health_report(
    list_services: ListServices,
    flow: Callable[[], FlowState] | None = None,
    *,
    lease: float = 30.0,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, Any]:
    """Ask the plane once, and report.

    Args:
        list_services: asks the plane.
        flow: tells the state of flow control; None leaves it out.
        lease: seconds after which a silent service is not healthy.

    Cancellation: safe at any point.
    """
    errors: dict[str, str] = {}
    health: PipelineHealth | None = None
    metrics: PipelineMetrics | None = None
    state: FlowState | None = None
    # Whatever part fails, and why: the others are still worth having.
    try:
        statuses = list(await list_services())
        health = pipeline_health(statuses, now=now(), lease=lease)
        metrics = pipeline_metrics(statuses, health=health)
    except FlowctlError as error:
        errors["pipeline_health"] = str(error)[:MAX_REASON]
    except Exception as error:
        logger.exception("the services cannot be reported on")
        errors["pipeline_health" if health is None else "performance"] = type(error).__name__
    try:
        state = flow() if flow is not None else None
    except Exception as error:
        logger.exception("flow control cannot be reported on")
        errors["flow_control"] = type(error).__name__
    return report_of(health, metrics, state, errors=errors, at=now())


def report_of(
    health: PipelineHealth | None,
    metrics: PipelineMetrics | None,
    flow: FlowState | None,
    *,
    errors: Mapping[str, str],
    at: datetime,
) -> dict[str, Any]:
    """The report on what could be found out; None for what could not. `errors` tells why, by part."""
    return {
        "timestamp": at.isoformat(),
        "pipeline_health": _health(health),
        "performance": _performance(metrics),
        "flow_control": _flow(flow),
        "service_summary": None if health is None else [_summary(one) for one in health.services.values()],
        "recommendations": list(_advice(health, metrics, flow)),
        "errors": dict(errors),
    }


def _health(health: PipelineHealth | None) -> dict[str, Any] | None:
    if health is None:
        return None
    return {
        "overall_status": health.overall.value,
        "healthy_services": health.healthy,
        "total_services": health.total,
        "health_ratio": health.ratio,
    }


def _performance(metrics: PipelineMetrics | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    return {
        "total_throughput": metrics.total_throughput,
        "summed_throughput": metrics.summed_throughput,
        "end_to_end_latency": _seconds(metrics.end_to_end_latency_ms),
        "chain_latency": _seconds(metrics.chain_latency_ms),
        "service_throughput": dict(metrics.throughput),
        "service_latency": {service_id: number / 1000 for service_id, number in metrics.latency_ms.items()},
        "queue_depths": dict(metrics.queue_depth),
        "error_rates": dict(metrics.error_rate),
    }


def _flow(flow: FlowState | None) -> dict[str, Any] | None:
    if flow is None:
        return None
    return {
        "backpressure_active": flow.is_active,
        "load": flow.load,
        "throttle_rate": flow.rate,
        "service_loads": dict(flow.loads),
        "last_updated": flow.at.isoformat(),
    }


def _summary(service: ServiceHealth) -> dict[str, Any]:
    status = service.status
    registrations = number_of(status, "registrations_total")
    errors = number_of(status, "errors_total")
    return {
        "service_id": status.service_id,
        "status": status.health.name.lower(),
        "why": service.why,
        "last_heartbeat": status.last_heartbeat.isoformat() if status.last_heartbeat is not None else None,
        "error_count": int(errors) if errors is not None else None,
        "response_time": _seconds(number_of(status, "processing_latency_ms")),
        "endpoint": status.info.endpoint,
        "is_connected": service.is_healthy,
        "reconnect_count": max(0, int(registrations) - 1) if registrations is not None else None,
    }


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _advice(health: PipelineHealth | None, metrics: PipelineMetrics | None, flow: FlowState | None) -> Iterator[str]:
    found = [*_advice_on_flow(metrics, flow), *_advice_on_metrics(metrics), *_advice_on_health(health)]
    yield from found
    if not found and health is not None and metrics is not None:
        yield "Everything is within normal parameters."


def _advice_on_flow(metrics: PipelineMetrics | None, flow: FlowState | None) -> Iterator[str]:
    if flow is not None and flow.is_active:
        yield f"Back-pressure is active at a load of {flow.load:.0%}: scale the services downstream."
    loads = {**(metrics.load if metrics is not None else {}), **(flow.loads if flow is not None else {})}
    for service_id, load in _worst(loads, HIGH_LOAD):
        yield f"{service_id!r} runs at {load:.0%} of its limit: scale it, or make it faster."


def _advice_on_metrics(metrics: PipelineMetrics | None) -> Iterator[str]:
    if metrics is None:
        return
    for service_id, rate in _worst(metrics.error_rate, HIGH_ERROR_RATE):
        yield f"{service_id!r} fails on {rate:.1%} of its events: look into its logs."
    # The slowest way is never faster than the slowest service on it.
    if metrics.chain_latency_ms is not None and metrics.chain_latency_ms > HIGH_LATENCY_MS:
        slowest = max(metrics.latency_ms, key=lambda service_id: metrics.latency_ms[service_id])
        seconds = metrics.chain_latency_ms / 1000
        yield f"An event takes {seconds:.1f} s from end to end: look for the bottleneck, first at {slowest!r}."


def _advice_on_health(health: PipelineHealth | None) -> Iterator[str]:
    if health is None:
        return
    if not health.services:
        yield "No services are registered."
    sick = [service for service in health.services.values() if not service.is_healthy]
    for service in sick[:MOST_NAMED]:
        yield f"{service.status.service_id!r} is not healthy: {service.why}."
    if len(sick) > MOST_NAMED:
        yield f"{len(sick) - MOST_NAMED} more services are not healthy."


def _worst(numbers: Mapping[str, float], above: float) -> list[tuple[str, float]]:
    bad = ((service_id, number) for service_id, number in numbers.items() if number > above)
    return heapq.nlargest(MOST_NAMED, bad, key=lambda pair: pair[1])
