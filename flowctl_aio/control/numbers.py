"""The numbers that others send with their heartbeats, read with distrust.

A number that is missing, negative, not finite or beyond all measure is no number; so whatever is
computed of what stands here is finite too, and can be written as JSON.
"""

from __future__ import annotations

from flowctl_aio.types import ServiceStatus

MOST = 1e15


def number_of(status: ServiceStatus, name: str) -> float | None:
    """One of its metrics; None if it says nothing that can be used."""
    value = status.metrics.get(name)
    return float(value) if value is not None and 0 <= value <= MOST else None


def error_rate_of(status: ServiceStatus) -> float | None:
    """Errors per event, None before the first event."""
    errors, events = number_of(status, "errors_total"), number_of(status, "events_processed_total")
    return errors / events if errors is not None and events is not None and events >= 1 else None


def inflight_of(status: ServiceStatus) -> tuple[float, float] | None:
    """What it has in flight, and its limit; None unless it tells both. A limit that it registered counts too."""
    inflight, most = number_of(status, "inflight"), number_of(status, "max_inflight")
    if most is None and status.info.max_inflight > 0:
        most = float(status.info.max_inflight)
    return (inflight, most) if inflight is not None and most is not None and most >= 1 else None


def load_of(status: ServiceStatus) -> float | None:
    """The part of its limit that is in flight; None unless it tells both."""
    told = inflight_of(status)
    return told[0] / told[1] if told is not None else None
