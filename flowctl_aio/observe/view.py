"""What a session lets others look at: the questions that the health pages ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowctl_aio.observe.meter import Meter
from flowctl_aio.types import Health


def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthView:
    """What the pages show, as questions to the session. Each is asked with each request, and should be quick.

    Attributes:
        who: name for the log, the component's id.
        service_id: what the plane calls the service at the moment.
        state: of the session, as a word.
        health: what the heartbeats say.
        is_live: false when only a restart helps, as with a loop that is stuck. A plane that is away is no reason.
        is_ready: true while it serves and is not draining.
        has_started: true from the moment that start-up is over, also while it drains.
        uptime: in seconds.
        why_not: a sentence for each thing that is not as it should be; shown to everybody, so no secrets.
        metrics: numbers in the names of the heartbeat.
        labels: of these numbers on the Prometheus page.
        meter: further metrics, with labels of their own.
    """

    who: str
    service_id: Callable[[], str]
    state: Callable[[], str]
    health: Callable[[], Health]
    is_live: Callable[[], bool]
    is_ready: Callable[[], bool]
    has_started: Callable[[], bool]
    uptime: Callable[[], float]
    why_not: Callable[[], Sequence[str]] = tuple
    metrics: Callable[[], Mapping[str, float]] = _nothing
    labels: Callable[[], Mapping[str, str]] = _nothing
    meter: Meter = field(default_factory=Meter)
