"""Services as a plane tells of them, for those who look at many."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from flowctl_aio.types import Health, ServiceInfo, ServiceStatus, ServiceType

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEDGER, EVENT = "stellar_ledger_service.StellarLedger", "ttp_event_service.TTPEvent"


def service(
    service_id: str,
    kind: ServiceType = ServiceType.UNSPECIFIED,
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
    *,
    health: Health = Health.HEALTHY,
    silent: float | None = 1.0,
    metrics: dict[str, float] | None = None,
    **info: Any,
) -> ServiceStatus:
    """A service; `silent` is seconds since its last heartbeat at NOW, None if the plane does not say."""
    return ServiceStatus(
        service_id,
        ServiceInfo(service_id, kind, inputs, outputs, **info),
        health,
        last_heartbeat=None if silent is None else NOW - timedelta(seconds=silent),
        metrics=metrics or {},
    )


def source(service_id: str = "source", *outputs: str, **more: Any) -> ServiceStatus:
    return service(service_id, ServiceType.SOURCE, (), outputs or (LEDGER,), **more)


def processor(service_id: str = "processor", **more: Any) -> ServiceStatus:
    return service(service_id, ServiceType.PROCESSOR, more.pop("inputs", (LEDGER,)), (EVENT,), **more)


def sink(service_id: str = "sink", *inputs: str, **more: Any) -> ServiceStatus:
    return service(service_id, ServiceType.SINK, inputs or (EVENT,), (), **more)


THREE = [sink(), processor(), source()]

_ODD = 'ab"\\;%{}[]#|<>&`\n\x00\ud800é…'
_NAMES = st.sampled_from(["a", "b", "c", "", '"];', "%%{init: {}}%%", "#34;", "*"]) | st.text(_ODD, max_size=6)
_METRICS = [
    "events_per_second",
    "processing_latency_ms",
    "queue_depth",
    "errors_total",
    "events_processed_total",
    "inflight",
    "max_inflight",
    "registrations_total",
]


_MANY_NAMES = st.lists(_NAMES, max_size=3).map(tuple)
_INFOS = st.builds(
    ServiceInfo,
    _NAMES,
    st.sampled_from(ServiceType),
    _MANY_NAMES,
    _MANY_NAMES,
    endpoint=st.just("localhost:1") | _NAMES,
    max_inflight=st.sampled_from([0, 1, 7, -1, 2**31 - 1, -(2**31)]),
)
_MOMENTS = [None, NOW, NOW - timedelta(days=1), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
_NUMBERS = st.sampled_from([0.0, 1.0, 2.5, 5e-324, 1e15, 1.8e308, -1.0, math.inf, -math.inf, math.nan])

# Services that say whatever the wire lets them say.
HOSTILE = st.builds(
    ServiceStatus,
    _NAMES,
    _INFOS,
    st.sampled_from(Health),
    last_heartbeat=st.sampled_from(_MOMENTS),
    metrics=st.dictionaries(st.sampled_from(_METRICS), _NUMBERS),
)
# The machine may be busy: how long an example takes is no claim of these tests.
quick = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
