"""The numbers of a pipeline under the names that Prometheus knows them by.

Every call gives what is there now, so that a series ends with its service. Knows nothing of Prometheus itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flowctl_aio.control.flow.control import FlowState
from flowctl_aio.control.overview.rollup import PipelineHealth, PipelineMetrics
from flowctl_aio.types import NOTHING

MAX_LABEL = 200


class Sample(NamedTuple):
    """One number, as a gauge."""

    name: str
    labels: Mapping[str, str]
    value: float


def pipeline_samples(
    health: PipelineHealth, metrics: PipelineMetrics, flow: FlowState | None = None
) -> Iterator[Sample]:
    """What to show of a pipeline; a latency that nobody tells is not shown, rather than 0."""
    yield Sample("flowctl_pipeline_throughput_total", NOTHING, metrics.total_throughput)
    if metrics.end_to_end_latency_ms is not None:
        yield Sample("flowctl_pipeline_latency_seconds", NOTHING, metrics.end_to_end_latency_ms / 1000)
    if metrics.chain_latency_ms is not None:
        yield Sample("flowctl_pipeline_chain_latency_seconds", NOTHING, metrics.chain_latency_ms / 1000)
    for service_id, load in metrics.load.items():
        service = health.services.get(service_id)
        kind = service.status.info.service_type.name if service is not None else ""
        labels = {"service_id": _short(service_id), "service_type": kind}
        yield Sample("flowctl_service_load_ratio", labels, load)
    for name, numbers in (
        ("flowctl_service_throughput", metrics.throughput),
        ("flowctl_service_queue_depth", metrics.queue_depth),
    ):
        for service_id, number in numbers.items():
            yield Sample(name, {"service_id": _short(service_id)}, number)
    for service_id, service in health.services.items():
        labels = {"service_id": _short(service_id), "endpoint": _short(service.status.info.endpoint)}
        yield Sample("flowctl_service_connections", labels, float(service.is_healthy))
    if flow is not None:
        yield Sample("flowctl_backpressure_active", NOTHING, float(flow.is_active))
        yield Sample("flowctl_throttle_rate", NOTHING, flow.rate)


def _short(text: str) -> str:
    """A label of bounded length; two texts that differ stay two labels."""
    if len(text) <= MAX_LABEL:
        return text
    return f"{text[:MAX_LABEL]}~{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
