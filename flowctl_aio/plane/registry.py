"""Who is registered, how they are, and when they were last heard of.

Takes values and the time, gives values. It knows neither gRPC nor the dialects, and never awaits;
both dialects of a plane work on the same registry, so they see the same services.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from flowctl_aio.errors import NotRegisteredError
from flowctl_aio.types import NOTHING, Health, ServiceInfo, ServiceStatus, ServiceType

logger = logging.getLogger(__name__)

MAX_METRICS = 1024
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


def health_after_beat(before: Health, said: Health | None) -> Health:
    """The health of a service after a beat that says `said`; None if the dialect has no word for it (classic).

    A word replaces what was stored, and a v1 UNKNOWN lifts only UNKNOWN. A classic beat also lifts UNHEALTHY:
    it is proof of life, and all that a classic service can say. A real flowctl takes it for a v1 UNKNOWN,
    so there a classic service that missed its lease once stays UNHEALTHY until it registers again.

    Source: `flowctl.v1.ControlPlaneService/Heartbeat`, `flowctl.ControlPlane/Heartbeat`.
    """
    if said is None:
        return Health.HEALTHY if before in (Health.UNKNOWN, Health.UNHEALTHY) else before
    if said is Health.UNKNOWN:
        return Health.HEALTHY if before is Health.UNKNOWN else before
    return said


class Registry:
    """The services of one plane, by service id.

    Ids are not owned: the last registration under an id wins, its endpoint included.

    Args:
        heartbeat_ttl: seconds for which a HEALTHY service counts as alive without a beat.
        now: the wall clock, timezone-aware.
        monotonic: a clock in seconds that never goes back; it alone decides on leases.
        changed: called after each change, a beat included.
    """

    def __init__(
        self,
        *,
        heartbeat_ttl: float = 30.0,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._ttl, self._now, self._monotonic, self._changed = heartbeat_ttl, now, monotonic, changed
        self._entries: dict[str, Entry] = {}

    def register(self, info: ServiceInfo, service_id: str = "") -> Entry:
        """Enter a service as HEALTHY, in place of whatever stood under its id.

        The id is `service_id`, else the component's own, else `<COMPONENT_TYPE_NAME>-<unix ns>`.
        It is the one key, and the one id that heartbeat, status, unregister and every listing use;
        a component without an id of its own takes it over. A real flowctl keeps a record without id
        when it generates one, and stores a record whose two ids differ under the one and looks it up
        under the other, so that it is lost at a restart.

        Source: `flowctl.v1.ControlPlaneService/RegisterComponent`, `flowctl.ControlPlane/Register`.
        """
        now = self._now()
        key = service_id or info.component_id or self._new_id(info.service_type, now)
        entry = Entry(
            service_id=key,
            info=info if info.component_id else replace(info, component_id=key),
            health=Health.HEALTHY,
            registered_at=now,
            last_heartbeat=now,
            last_seen=self._monotonic(),
        )
        previous = self._entries.get(key)
        self._entries[key] = entry
        logger.info("%s registered%s", key, " again" if previous else "")
        if previous and previous.health is Health.HEALTHY and previous.info.endpoint != info.endpoint:
            logger.warning("%s moved from %r to %r: two processes, one id?", key, previous.info.endpoint, info.endpoint)
        self._changed()
        return entry

    def unregister(self, service_id: str) -> bool:
        """Remove a service; False if it was not there, which is no error.

        Source: `flowctl.v1.ControlPlaneService/UnregisterComponent`.
        """
        if self._entries.pop(service_id, None) is None:
            return False
        logger.info("%s unregistered", service_id)
        self._changed()
        return True

    def forget(self, service_id: str | None = None) -> None:
        """Drop one service, or all, as a registry does that lost its state; one that is not there is no error."""
        if service_id is None:
            self._entries.clear()
        else:
            self._entries.pop(service_id, None)
        self._changed()

    def beat(self, service_id: str, *, health: Health | None, metrics: Mapping[str, str] = NOTHING) -> Entry:
        """Note a beat: last seen now, health as `health_after_beat` has it, metrics merged key by key.

        Past `MAX_METRICS` names, those that were longest without news are forgotten.

        Raises:
            NotRegisteredError: if there is no such service.
        """
        entry = self.entry(service_id)
        kept = [(name, value) for name, value in entry.metrics.items() if name not in metrics]
        beaten = replace(
            entry,
            health=health_after_beat(entry.health, health),
            last_heartbeat=self._now(),
            last_seen=self._monotonic(),
            metrics=dict([*kept, *metrics.items()][-MAX_METRICS:]),
        )
        self._put(beaten, entry.health, "by a heartbeat")
        self._changed()
        return beaten

    def sweep(self) -> Sequence[Entry]:
        """Mark every HEALTHY service UNHEALTHY whose lease has run out, and return them.

        Services in any other state keep it, and nobody is removed.
        """
        latest = self._monotonic() - self._ttl
        lapsed = [
            replace(entry, health=Health.UNHEALTHY)
            for entry in self._entries.values()
            if entry.health is Health.HEALTHY and entry.last_seen < latest
        ]
        for entry in lapsed:
            self._put(entry, Health.HEALTHY, f"not seen for more than {self._ttl:g} s")
        if lapsed:
            self._changed()
        return lapsed

    def entry(self, service_id: str) -> Entry:
        """One service, by service id only.

        Raises:
            NotRegisteredError: if there is no such service.
        """
        try:
            return self._entries[service_id]
        except KeyError:
            raise NotRegisteredError(f"service {service_id} not found") from None

    def entries(
        self, *, service_type: ServiceType = ServiceType.UNSPECIFIED, include_unhealthy: bool = True
    ) -> list[Entry]:
        """Services in the order in which their ids first registered.

        Args:
            service_type: only these; UNSPECIFIED for all.
            include_unhealthy: false for the HEALTHY ones only, so without STARTING and DEGRADED too.

        Source: `flowctl.v1.ControlPlaneService/ListComponents`.
        """
        return [
            entry
            for entry in self._entries.values()
            if service_type in (ServiceType.UNSPECIFIED, entry.info.service_type)
            and (include_unhealthy or entry.health is Health.HEALTHY)
        ]

    def discover(
        self,
        *,
        service_type: ServiceType = ServiceType.UNSPECIFIED,
        event_types: Sequence[str] = (),
        metadata: Mapping[str, str] = NOTHING,
    ) -> list[Entry]:
        """Services that fit, whatever their health.

        Args:
            event_types: at least one of them is among its inputs or outputs; none for any.
            metadata: all of it stands in its own.

        Source: `flowctl.v1.ControlPlaneService/DiscoverComponents`.
        """
        wanted = set(event_types)
        return [
            entry
            for entry in self.entries(service_type=service_type)
            if (not wanted or not wanted.isdisjoint((*entry.info.input_event_types, *entry.info.output_event_types)))
            and metadata.items() <= entry.info.metadata.items()
        ]

    def _put(self, entry: Entry, before: Health, why: str) -> None:
        self._entries[entry.service_id] = entry
        if entry.health is not before:
            logger.info("%s went from %s to %s: %s", entry.service_id, before.name, entry.health.name, why)

    def _new_id(self, service_type: ServiceType, now: datetime) -> str:
        nanoseconds = (now - _EPOCH) // timedelta(microseconds=1) * 1000
        while (service_id := f"{_TYPE_NAMES[service_type]}-{nanoseconds}") in self._entries:
            nanoseconds += 1
        return service_id


# Generated ids carry the v1 name of the type, whichever dialect asks; v1 has no pipelines.
_TYPE_NAMES = {
    ServiceType.UNSPECIFIED: "COMPONENT_TYPE_UNSPECIFIED",
    ServiceType.SOURCE: "COMPONENT_TYPE_SOURCE",
    ServiceType.PROCESSOR: "COMPONENT_TYPE_PROCESSOR",
    ServiceType.SINK: "COMPONENT_TYPE_CONSUMER",
    ServiceType.PIPELINE: "COMPONENT_TYPE_UNSPECIFIED",
}


def _numbers(metrics: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, text in metrics.items():
        try:
            yield name, float(text)
        except ValueError:
            continue
