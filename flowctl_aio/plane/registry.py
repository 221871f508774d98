"""Who is registered, how they are, and when they were last heard of.

Takes values and the time, gives values. It knows neither gRPC nor the dialects, and never awaits;
both dialects of a plane work on the same registry, so they see the same services.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flowctl_aio.errors import ControlError, NotRegisteredError
from flowctl_aio.plane.entry import Entry, entry_from_records
from flowctl_aio.plane.metrics import MAX_METRICS as MAX_METRICS
from flowctl_aio.plane.quirks import IDEAL, Keep, Rules, keep_nowhere
from flowctl_aio.types import NOTHING, Health, ServiceInfo, ServiceType

logger = logging.getLogger(__name__)

# In the metadata of a registration: tells one process from another.
INSTANCE_KEY = "instance_id"
MAX_RIVALS = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


class EmptyIdError(ControlError):
    """A component without an id cannot be kept."""


class Registry:
    """The services of one plane, by service id.

    Ids are not owned: the last registration under an id wins, its endpoint included.

    Args:
        heartbeat_ttl: seconds for which a HEALTHY service counts as alive without a beat.
        now: the wall clock, timezone-aware.
        monotonic: a clock in seconds that never goes back; it alone decides on leases.
        changed: called after each change, a beat included.
        keep: told of each change too, with the records that it leaves; None if they are kept nowhere.
        rules: what becomes of ids.
    """

    def __init__(
        self,
        *,
        heartbeat_ttl: float = 30.0,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
        keep: Keep | None = None,
        rules: Rules = IDEAL,
    ) -> None:
        self._ttl, self._now, self._monotonic, self._changed = heartbeat_ttl, now, monotonic, changed
        self._is_kept, self._keep, self._rules = keep is not None, keep or keep_nowhere, rules
        self._entries: dict[str, Entry] = {}
        self._rivals: set[frozenset[str]] = set()

    def restore(self, services: Mapping[str, bytes], beats: Mapping[str, bytes]) -> None:
        """Take over what a file kept, by id. Leases run from now.

        Raises:
            ValueError, TypeError, KeyError: if a record is none of ours.
        """
        now = self._monotonic()
        self._entries = {key: entry_from_records(key, record, beats[key], now) for key, record in services.items()}

    def register(self, info: ServiceInfo, service_id: str = "") -> Entry:
        """Enter a service as HEALTHY, in place of whatever stood under its id.

        The id is `service_id`, else the component's own, else `<COMPONENT_TYPE_NAME>-<unix ns>`.
        It is the one key, and the one id that heartbeat, status, unregister and every listing use;
        a component without an id of its own takes it over. A real flowctl keeps a record without id
        when it generates one, and stores a record whose two ids differ under the one and looks it up
        under the other, so that it is lost at a restart.

        Raises:
            EmptyIdError: if the record of the component has no id to be kept under.

        Source: `flowctl.v1.ControlPlaneService/RegisterComponent`, `flowctl.ControlPlane/Register`.
        """
        now = self._now()
        key = service_id or info.component_id or self._new_id(info.service_type, now)
        if self._rules.adopts_ids and not info.component_id:
            info = replace(info, component_id=key)
        entry = Entry(
            service_id=key,
            info=info,
            health=Health.HEALTHY,
            registered_at=now,
            last_heartbeat=now,
            last_seen=self._monotonic(),
        )
        kept_as = self._rules.stored_id(entry)
        if self._is_kept and not kept_as:
            raise EmptyIdError("key required")
        previous = self._entries.get(key)
        self._entries[key] = entry
        logger.info("%s registered%s", key, " again" if previous else "")
        if previous and previous.health is Health.HEALTHY:
            self._notice_rival(previous, entry)
        self._keep("service", kept_as, entry.service_record)
        self._keep("beat", kept_as, entry.beat_record)
        self._changed()
        return entry

    def unregister(self, service_id: str) -> bool:
        """Remove a service; False if it was not there, which is no error.

        Source: `flowctl.v1.ControlPlaneService/UnregisterComponent`.
        """
        if service_id not in self._entries:
            return False
        self._remove(service_id)
        logger.info("%s unregistered", service_id)
        self._changed()
        return True

    def forget(self, service_id: str | None = None) -> None:
        """Drop one service, or all, as a registry does that lost its state; one that is not there is no error."""
        for known in list(self._entries) if service_id is None else [service_id]:
            if known in self._entries:
                self._remove(known)
        self._changed()

    def beat(
        self,
        service_id: str,
        *,
        health: Health | None,
        metrics: Mapping[str, str] = NOTHING,
        encoded: Callable[[], bytes] | None = None,
    ) -> Entry:
        """Note a beat: last seen now, health as `health_after_beat` has it, metrics merged name by name.

        Past `MAX_METRICS` names, those that were longest without news are forgotten.

        Args:
            encoded: gives the v1 heartbeat that brought the metrics, if there is one.

        Raises:
            NotRegisteredError: if there is no such service.
        """
        entry = self.entry(service_id)
        beaten = Entry(
            service_id=entry.service_id,
            info=entry.info,
            health=health_after_beat(entry.health, health),
            registered_at=entry.registered_at,
            last_heartbeat=self._now(),
            last_seen=self._monotonic(),
            metrics=entry.metrics.updated(metrics, encoded),
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
        self._keep("beat", self._rules.stored_id(entry), entry.beat_record)
        if entry.health is not before:
            logger.info("%s went from %s to %s: %s", entry.service_id, before.name, entry.health.name, why)

    def _remove(self, service_id: str) -> None:
        kept_as = self._rules.stored_id(self._entries.pop(service_id))
        self._keep("service", kept_as, None)
        self._keep("beat", kept_as, None)

    def _notice_rival(self, previous: Entry, entry: Entry) -> None:
        """Say so when a live service is registered from elsewhere: once for each pair of processes, if they have names.

        One that was killed and comes back within its lease looks the same.
        """
        instances = [known.info.metadata.get(INSTANCE_KEY, "") for known in (previous, entry)]
        if all(instances) and instances[0] != instances[1]:
            pair = frozenset((entry.service_id, *instances))
            if pair not in self._rivals:
                if len(self._rivals) >= MAX_RIVALS:
                    self._rivals.clear()
                self._rivals.add(pair)
                logger.warning(
                    "%s registered from instance %r and from %r: two processes, one id?", entry.service_id, *instances
                )
        elif previous.info.endpoint != entry.info.endpoint:
            logger.warning(
                "%s moved from %r to %r: two processes, one id?",
                entry.service_id,
                previous.info.endpoint,
                entry.info.endpoint,
            )

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
