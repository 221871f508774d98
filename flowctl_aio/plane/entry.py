"""One registration as a value, and as the two records that a file keeps of it: who it is, and its last beat.

They are two because a beat changes one of them, and beats are what a plane mostly hears. Both are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from flowctl_aio.types import Health, ServiceInfo, ServiceStatus, ServiceType


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration. Every change makes a new one, so an entry is a snapshot.

    Attributes:
        registered_at, last_heartbeat: timezone-aware, by the plane's own clock; registering counts as a beat.
        last_seen: the same moment as `last_heartbeat`, in seconds of the monotonic clock.
        metrics: name to value as text, as v1 has them; classic numbers are written so that they read back exactly.
    """

    service_id: str
    info: ServiceInfo
    health: Health
    registered_at: datetime
    last_heartbeat: datetime
    last_seen: float
    metrics: Mapping[str, str] = field(default_factory=dict)

    def status(self) -> ServiceStatus:
        """What others may know. Metrics that are no numbers are left out."""
        return ServiceStatus(
            service_id=self.service_id,
            info=self.info,
            health=self.health,
            last_heartbeat=self.last_heartbeat,
            registered_at=self.registered_at,
            metrics=dict(_numbers(self.metrics)),
        )

    def service_record(self) -> bytes:
        """Who it is, for a file."""
        return _encode({"registered_at": self.registered_at.isoformat(), "info": asdict(self.info)})

    def beat_record(self) -> bytes:
        """How it was when it was last heard of, for a file."""
        return _encode(
            {"health": int(self.health), "at": self.last_heartbeat.isoformat(), "metrics": dict(self.metrics)}
        )


def entry_from_records(service_id: str, service: bytes, beat: bytes, last_seen: float) -> Entry:
    """The entry that was written as these two records; it counts as seen at `last_seen`.

    Raises:
        ValueError, TypeError, KeyError: if they are something else.
    """
    who, how = json.loads(service), json.loads(beat)
    info = who["info"]
    for name in ("input_event_types", "output_event_types"):
        info[name] = tuple(info[name])
    return Entry(
        service_id=service_id,
        info=ServiceInfo(**{**info, "service_type": ServiceType(info["service_type"])}),
        health=Health(how["health"]),
        registered_at=datetime.fromisoformat(who["registered_at"]),
        last_heartbeat=datetime.fromisoformat(how["at"]),
        last_seen=last_seen,
        metrics=dict(how["metrics"]),
    )


def _encode(value: Mapping[str, object]) -> bytes:
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


def _numbers(metrics: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, text in metrics.items():
        try:
            yield name, float(text)
        except ValueError:
            continue
