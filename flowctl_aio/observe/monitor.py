"""The metrics of upstream's pipeline monitor, under their own names, as instruments to fill.

Upstream serves them on a registry that nobody exposes; five stand only in its documents.
"""

from __future__ import annotations

from flowctl_aio.observe.meter import DEFAULT_BOUNDS, Meter

SERVICE = ("service_id", "service_type")
POOL = ("endpoint",)


class MonitorMetrics:
    """Upstream's instruments in a meter.

    Gauges of services are filled by `set_all`, so that a service that left leaves no series behind.

    Attributes:
        throughput, latency: of the whole pipeline, in events per second and seconds end to end.
        load_ratio: in flight over its maximum, by service_id and service_type.
        backpressure_active, throttle_rate: 1 or 0, and the rate as a part of the full one.
        connections: 1 where a service is healthy, by service_id and endpoint.
        discovery_duration: how long a look at the plane took, in seconds.
        reconnections: by service_id and reason.
        service_throughput, service_queue_depth: by service_id and service_type.
        pool_total, pool_healthy, pool_idle: connections, by endpoint.
    """

    def __init__(self, meter: Meter) -> None:
        # A gauge in spite of its name, as upstream has it.
        self.throughput = meter.gauge("flowctl_pipeline_throughput_total", "Events per second through the pipeline.")
        self.latency = meter.gauge("flowctl_pipeline_latency_seconds", "Latency end to end.")
        self.load_ratio = meter.gauge("flowctl_service_load_ratio", "In flight over its maximum.", labels=SERVICE)
        self.backpressure_active = meter.gauge("flowctl_backpressure_active", "1 while throttling, else 0.")
        self.throttle_rate = meter.gauge("flowctl_throttle_rate", "The allowed rate as a part of the full one, 0 to 1.")
        self.connections = meter.gauge(
            "flowctl_service_connections", "1 where the service is healthy, else 0.", labels=("service_id", "endpoint")
        )
        self.discovery_duration = meter.histogram(
            "flowctl_service_discovery_duration_seconds", "Time of one look at the plane.", bounds=DEFAULT_BOUNDS
        )
        self.reconnections = meter.counter(
            "flowctl_reconnection_events_total", "Connections made again.", labels=("service_id", "reason")
        )
        self.service_throughput = meter.gauge("flowctl_service_throughput", "Events per second.", labels=SERVICE)
        self.service_queue_depth = meter.gauge("flowctl_service_queue_depth", "Batches that wait.", labels=SERVICE)
        self.pool_total = meter.gauge("flowctl_pool_total_connections", "Connections in the pool.", labels=POOL)
        self.pool_healthy = meter.gauge("flowctl_pool_healthy_connections", "Those that answer.", labels=POOL)
        self.pool_idle = meter.gauge("flowctl_pool_idle_connections", "Those that nobody uses.", labels=POOL)
