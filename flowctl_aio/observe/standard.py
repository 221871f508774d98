"""What a session has counted → the standard metrics of its kind, under the names that the first design promised.

Pure. A number that nobody knows is left out: a constant in its place would be a lie that looks like a measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flowctl_aio.types import ServiceType


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a service. Times are seconds, sizes are bytes; None is unknown.

    Attributes:
        uptime: since the session began.
        is_up: whether it serves; false while it stops and when it is unhealthy.
        batches_in, rows_in, bytes_in, batches_out, rows_out, bytes_out: over all streams so far.
        faults: exceptions out of the component's own code.
        streams, streams_total: under way, and begun so far.
        calls: streams and other calls of peers answered so far; None counts the streams.
        rows_per_second: what the component gets through, lately.
        inflight, max_inflight: batches under way, and how many may be (0 for no limit known).
        queue_depth: batches that wait for the component.
        processing: time spent in the component's own code so far.
        latency: of one batch in the component, lately.
        since_last: since the last batch; None before the first.
        loop_lag: of the event loop, the longest lately.
        rss: resident memory of the process.
        files_written, bytes_written, websocket_connections: of a sink that counts them.
    """

    uptime: float
    is_up: bool = True
    batches_in: int = 0
    rows_in: int = 0
    bytes_in: int = 0
    batches_out: int = 0
    rows_out: int = 0
    bytes_out: int = 0
    faults: int = 0
    invalid: int = 0
    failed: int = 0
    retries: int = 0
    streams: int = 0
    streams_total: int = 0
    calls: int | None = None
    rows_per_second: float | None = None
    inflight: int | None = None
    max_inflight: int = 0
    queue_depth: int | None = None
    processing: float | None = None
    latency: float | None = None
    since_last: float | None = None
    loop_lag: float | None = None
    rss: int | None = None
    files_written: int | None = None
    bytes_written: int | None = None
    websocket_connections: int | None = None


# What each name means, with its unit; also the help texts of the metrics page.
HELP: dict[str, str] = {
    "service_status": "1 while the service serves, else 0.",
    "uptime_seconds": "Seconds since the session began.",
    "errors_total": "Exceptions out of the component's own code.",
    "validation_errors_total": "Rows set aside because they are not what they should be.",
    "processing_errors_total": "Rows set aside because the component failed at them.",
    "retries_total": "Times that the component got a batch again that it had failed at.",
    "events_processed_total": "Rows that the component got through.",
    "events_per_second": "Rows per second that the component gets through, lately.",
    "seconds_since_last_processed": "Seconds since the last batch.",
    "processing_latency_ms": "Milliseconds that the component takes for one batch, lately.",
    "queue_depth": "Batches that wait for the component.",
    "inflight": "Batches under way.",
    "max_inflight": "Batches that may be under way on all streams together.",
    "inflight_utilization": "Batches under way over those that may be.",
    "loop_lag_seconds": "Longest lag of the event loop, lately.",
    "streams": "Streams under way.",
    "streams_total": "Streams begun.",
    "batches_in_total": "Batches received.",
    "batches_out_total": "Batches sent.",
    "rows_in_total": "Rows received.",
    "rows_out_total": "Rows sent.",
    "bytes_in_total": "Bytes received.",
    "bytes_out_total": "Bytes sent.",
    "ledgers_processed_total": "Rows that the source sent.",
    "ledgers_per_second": "Rows per second that the source sends, lately.",
    "processing_duration_seconds": "Seconds spent in the component's own code.",
    "rpc_requests_total": "Calls of peers that were answered.",
    "compute_operations_total": "Batches that the processor worked on.",
    "memory_usage_bytes": "Resident memory of the process.",
    "files_written_total": "Files that the sink wrote.",
    "bytes_written_total": "Bytes that the sink wrote.",
    "websocket_connections": "WebSocket clients of the sink.",
    "compression_ratio": "Bytes received over bytes written.",
    "current_inflight": "Batches under way, under the processor's own name for it.",
    "heartbeats_total": "Heartbeats that were due.",
    "heartbeats_missed_total": "Heartbeats among them that the plane did not accept.",
    "heartbeats_rejected_total": "Heartbeats among the missed ones that the plane answered, and refused.",
    "heartbeats_standby_total": "Heartbeats that a thread sent besides, while the loop was blocked.",
    "foreign_instances_total": "Other processes that were seen under the service's id.",
    "registrations_total": "Registrations that the plane accepted.",
}

# The seed's standard names go onto a metrics page as they are, as do names with one of the prefixes that the seed or
# upstream gave out; every other name gets the prefix of this SDK.
SEED_NAMES = frozenset(
    {
        "service_status",
        "uptime_seconds",
        "errors_total",
        "events_processed_total",
        "events_per_second",
        "seconds_since_last_processed",
        "processing_latency_ms",
        "queue_depth",
        "max_inflight",
        "inflight_utilization",
        "current_inflight",
        "current_ledger",
        "last_processed_ledger",
        "throttle_rate",
        "backpressure_active",
        "error_rate",
        "ledgers_processed_total",
        "ledgers_recovered_total",
        "ledgers_per_second",
        "validation_errors_total",
        "processing_errors_total",
        "processing_duration_seconds",
        "rpc_requests_total",
        "compute_operations_total",
        "memory_usage_bytes",
        "transactions_processed_total",
        "operations_processed_total",
        "operations_per_second",
        "events_extracted_total",
        "events_filtered_total",
        "event_extraction_rate",
        "event_filter_rate",
        "batches_generated_total",
        "records_queue_depth",
        "error_queue_depth",
        "events_received_total",
        "events_written_total",
        "events_queue_depth",
        "files_written_total",
        "files_per_second",
        "bytes_written_total",
        "writes_per_second",
        "write_efficiency",
        "websocket_connections",
        "websocket_messages_sent",
        "compression_ratio",
    }
)


def standard_metrics(kind: ServiceType, facts: Facts) -> dict[str, float]:
    """The numbers that every service of `kind` has, in the heartbeat's names. Finite values only."""
    # What a component gets through is what it takes, and for a source what it gives.
    rows = facts.rows_out if kind is ServiceType.SOURCE else facts.rows_in
    known: dict[str, float | None] = {
        "service_status": float(facts.is_up),
        "uptime_seconds": facts.uptime,
        "errors_total": facts.faults,
        "loop_lag_seconds": facts.loop_lag,
        "memory_usage_bytes": facts.rss,
    }
    if kind in (ServiceType.SOURCE, ServiceType.PROCESSOR, ServiceType.SINK):
        known |= {
            "events_processed_total": rows,
            "events_per_second": facts.rows_per_second,
            "seconds_since_last_processed": facts.since_last,
            "processing_latency_ms": None if facts.latency is None else facts.latency * 1000,
            "processing_duration_seconds": facts.processing,
            "queue_depth": facts.queue_depth,
            "inflight": facts.inflight,
            "max_inflight": facts.max_inflight or None,
            "inflight_utilization": _ratio(facts.inflight, facts.max_inflight),
            "streams": facts.streams,
            "streams_total": facts.streams_total,
            "rpc_requests_total": facts.streams_total if facts.calls is None else facts.calls,
            "batches_in_total": facts.batches_in,
            "rows_in_total": facts.rows_in,
            "bytes_in_total": facts.bytes_in,
            "batches_out_total": facts.batches_out,
            "rows_out_total": facts.rows_out,
            "bytes_out_total": facts.bytes_out,
            **_own(kind, facts),
        }
    return {name: float(value) for name, value in known.items() if value is not None and math.isfinite(value)}


def _own(kind: ServiceType, facts: Facts) -> dict[str, float | None]:
    """What only one kind has."""
    if kind is ServiceType.SOURCE:
        return {"ledgers_processed_total": facts.rows_out, "ledgers_per_second": facts.rows_per_second}
    set_aside: dict[str, float | None] = {
        "validation_errors_total": facts.invalid,
        "processing_errors_total": facts.failed - facts.invalid,
        "retries_total": facts.retries,
    }
    if kind is ServiceType.PROCESSOR:
        return {**set_aside, "compute_operations_total": facts.batches_in, "current_inflight": facts.inflight}
    return {
        **set_aside,
        "files_written_total": facts.files_written,
        "bytes_written_total": facts.bytes_written,
        "websocket_connections": facts.websocket_connections,
        "compression_ratio": _ratio(facts.bytes_in, facts.bytes_written),
    }


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


__all__ = ["HELP", "SEED_NAMES", "Facts", "standard_metrics"]
