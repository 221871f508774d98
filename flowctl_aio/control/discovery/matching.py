"""Who fits whom: by event types, by health, by age. Values in, values out; no clock and no plane.

Event types are compared as whole strings. Endpoints are those that services advertised; none is ever guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.address import parse_endpoint
from flowctl_aio.types import Health, ServiceInfo, ServiceStatus, ServiceType

# The label of a link between two services of which neither names event types.
ANY = "*"

# The best first. Who says nothing of its health answers at least; the last two are only for those who ask for them.
PREFERENCE = (Health.HEALTHY, Health.DEGRADED, Health.UNKNOWN, Health.STARTING, Health.STOPPING, Health.UNHEALTHY)
UNUSABLE = (Health.STOPPING, Health.UNHEALTHY)
NAMELESS = (ServiceType.UNSPECIFIED, ServiceType.PIPELINE)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a service can be dialled, by its own account.

    Attributes:
        endpoint: as it was advertised.
        last_seen: its last heartbeat, by the plane's clock; None if the plane does not say.
    """

    service_id: str
    endpoint: str
    metadata: Mapping[str, str]
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service that fits.

    Attributes:
        is_stale: its last heartbeat is older than a lease, whatever the plane says of its health.
    """

    status: ServiceStatus
    is_stale: bool = False

    @property
    def service_id(self) -> str:
        return self.status.service_id

    @property
    def health(self) -> Health:
        return self.status.health

    @property
    def connection(self) -> Connection | None:
        """How to dial it; None if it advertised nothing that can be dialled."""
        return connection_of(self.status)


def connection_of(status: ServiceStatus) -> Connection | None:
    """How to dial a service; None if it advertised no endpoint, or one that gRPC cannot dial."""
    try:
        parse_endpoint(status.info.endpoint)
    except ConfigError:
        return None
    return Connection(status.service_id, status.info.endpoint, status.info.metadata, status.last_heartbeat)


def gives(info: ServiceInfo) -> bool:
    """Whether something comes out of it."""
    return bool(info.output_event_types) or info.service_type in (ServiceType.SOURCE, ServiceType.PROCESSOR)


def takes(info: ServiceInfo) -> bool:
    """Whether something goes into it."""
    return bool(info.input_event_types) or info.service_type in (ServiceType.PROCESSOR, ServiceType.SINK)


def link(giver: ServiceInfo, taker: ServiceInfo) -> tuple[str, ...]:
    """The event types that can flow from one to the other, sorted; none if nothing can.

    A service that names no event types takes everything, and may give anything. Only between two
    processors that both leave it open nothing is assumed: else every two of them would be a circle.
    """
    if not gives(giver) or not takes(taker):
        return ()
    given, taken = set(giver.output_event_types), set(taker.input_event_types)
    if given and taken:
        return tuple(sorted(given & taken))
    if given or taken:
        return tuple(sorted(given or taken))
    return () if giver.service_type is taker.service_type is ServiceType.PROCESSOR else (ANY,)


def is_stale(status: ServiceStatus, *, now: datetime, lease: float) -> bool:
    """Whether the last heartbeat is more than `lease` seconds ago; never where the plane does not tell it."""
    return status.last_heartbeat is not None and (now - status.last_heartbeat).total_seconds() > lease


def is_like(
    status: ServiceStatus, service_type: ServiceType, event_types: Sequence[str], metadata: Mapping[str, str]
) -> bool:
    """Whether a service is of a type, takes or gives one of `event_types`, and has all of `metadata`."""
    info = status.info
    return (
        service_type in (ServiceType.UNSPECIFIED, info.service_type)
        and (not event_types or not {*info.input_event_types, *info.output_event_types}.isdisjoint(event_types))
        and all(info.metadata.get(key) == value for key, value in metadata.items())
    )


def ranked(statuses: Iterable[ServiceStatus], *, now: datetime, lease: float) -> list[Candidate]:
    """The best first: fresh before stale, then by health, then by id."""
    found = [Candidate(status, is_stale(status, now=now, lease=lease)) for status in statuses]
    return sorted(found, key=lambda one: (one.is_stale, PREFERENCE.index(one.health), one.service_id))


def upstream_of(info: ServiceInfo, statuses: Iterable[ServiceStatus]) -> list[ServiceStatus]:
    """Those whose outputs are inputs of `info`, itself left out."""
    # Whoever is none of source, processor and sink, and names nothing, looks at everything.
    taker = replace(info, service_type=ServiceType.SINK) if info.service_type in NAMELESS else info
    return [status for status in statuses if not _is_same(status, info) and link(status.info, taker)]


def downstream_of(info: ServiceInfo, statuses: Iterable[ServiceStatus]) -> list[ServiceStatus]:
    """Those whose inputs are outputs of `info`, itself left out."""
    giver = replace(info, service_type=ServiceType.SOURCE) if info.service_type in NAMELESS else info
    return [status for status in statuses if not _is_same(status, info) and link(giver, status.info)]


def _is_same(status: ServiceStatus, info: ServiceInfo) -> bool:
    return info.component_id in (status.service_id, status.info.component_id)
