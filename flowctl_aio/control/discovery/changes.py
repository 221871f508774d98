"""What differs between two looks at the services of a plane. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowctl_aio.types import ServiceStatus


@dataclass(frozen=True, slots=True)
class Added:
    """A service that was not there before."""

    status: ServiceStatus


@dataclass(frozen=True, slots=True)
class Removed:
    """A service that is no longer there; `status` is the last that was known of it."""

    status: ServiceStatus


@dataclass(frozen=True, slots=True)
class Changed:
    """A service that is another than before.

    Attributes:
        fields: what differs: `health`, `endpoint`, `service_type`, `input_event_types`, `output_event_types`,
            `metadata`, `registered_at` (it registered again); when asked for, `metrics` and `last_heartbeat`.
    """

    before: ServiceStatus
    after: ServiceStatus
    fields: tuple[str, ...]


Change: TypeAlias = Added | Removed | Changed


def diff(before: Iterable[ServiceStatus], after: Iterable[ServiceStatus], *, metrics: bool = False) -> list[Change]:
    """What changed, by service id: first who went, then who came, then who is another now; each sorted by id.

    Args:
        metrics: metrics and heartbeat times count as changes too.
    """
    old = {status.service_id: status for status in before}
    new = {status.service_id: status for status in after}
    changes: list[Change] = [Removed(old[key]) for key in sorted(old.keys() - new.keys())]
    changes += [Added(new[key]) for key in sorted(new.keys() - old.keys())]
    for key in sorted(old.keys() & new.keys()):
        fields = _differences(old[key], new[key], metrics=metrics)
        if fields:
            changes.append(Changed(old[key], new[key], fields))
    return changes


def _differences(before: ServiceStatus, after: ServiceStatus, *, metrics: bool) -> tuple[str, ...]:
    if before is after:
        return ()
    old, new = _facts(before), _facts(after)
    found = [name for name in old if old[name] != new[name]]
    if metrics and not _are_same(before.metrics, after.metrics):
        found.append("metrics")
    if metrics and before.last_heartbeat != after.last_heartbeat:
        found.append("last_heartbeat")
    return tuple(found)


def _facts(status: ServiceStatus) -> dict[str, Any]:
    info = status.info
    return {
        "health": status.health,
        "endpoint": info.endpoint,
        "service_type": info.service_type,
        # A plane may tell them in any order.
        "input_event_types": set(info.input_event_types),
        "output_event_types": set(info.output_event_types),
        "metadata": info.metadata,
        "registered_at": status.registered_at,
    }


def _are_same(old: Mapping[str, float], new: Mapping[str, float]) -> bool:
    """Whether the numbers are the same; one that is none now and was none before has not changed."""
    return old.keys() == new.keys() and all(
        old[name] == new[name] or (math.isnan(old[name]) and math.isnan(new[name])) for name in old
    )
