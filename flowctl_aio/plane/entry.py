"""One registration as a value, and as the two records that a file keeps of it: who it is, and its last beat.

They are two because a beat changes one of them, and beats are what a plane mostly hears. The first is JSON; the second
is how it was and when, and then the heartbeat with its metrics, as it came.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from flowctl_aio.plane.metrics import Metrics
from flowctl_aio.types import Health, ServiceInfo, ServiceStatus, ServiceType, metrics_from_v1

# Health, and microseconds since 1970.
_BEAT = struct.Struct("<Bq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    metrics: Metrics = field(default_factory=Metrics)

    def status(self) -> ServiceStatus:
        """What others may know. Metrics that are no numbers are left out."""
        return ServiceStatus(
            service_id=self.service_id,
            info=self.info,
            health=self.health,
            last_heartbeat=self.last_heartbeat,
            registered_at=self.registered_at,
            metrics=metrics_from_v1(self.metrics.plain()),
        )

    def service_record(self) -> bytes:
        """Who it is, for a file."""
        who = {"registered_at": self.registered_at.isoformat(), "info": asdict(self.info)}
        return json.dumps(who, ensure_ascii=False).encode()

    def beat_record(self) -> bytes:
        """How it was when it was last heard of, for a file."""
        return _BEAT.pack(self.health, int(self.last_heartbeat.timestamp() * 1e6)) + self.metrics.encoded


def entry_from_records(service_id: str, service: bytes, beat: bytes, last_seen: float) -> Entry:
    """The entry that was written as these two records; it counts as seen at `last_seen`.

    Raises:
        ValueError, TypeError, KeyError, OverflowError, struct.error, google.protobuf.message.DecodeError: if they
            are something else.
    """
    who = json.loads(service)
    health, micros = _BEAT.unpack_from(beat)
    info = who["info"]
    for name in ("input_event_types", "output_event_types"):
        info[name] = tuple(info[name])
    return Entry(
        service_id=service_id,
        info=ServiceInfo(**{**info, "service_type": ServiceType(info["service_type"])}),
        health=Health(health),
        registered_at=datetime.fromisoformat(who["registered_at"]),
        last_heartbeat=_EPOCH + timedelta(microseconds=micros),
        last_seen=last_seen,
        metrics=Metrics.decode(beat[_BEAT.size :]),
    )
