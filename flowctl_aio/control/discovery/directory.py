"""What a session knows of the other services: questions to the plane, shared and briefly kept, and what follows.

Takes the two questions as functions, so it knows neither gRPC nor the dialects.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from flowctl_aio.control.clock import utc_now
from flowctl_aio.control.discovery.matching import (
    UNUSABLE,
    Candidate,
    downstream_of,
    is_like,
    ranked,
    upstream_of,
)
from flowctl_aio.control.discovery.sharing import Shared
from flowctl_aio.types import NOTHING, Health, ServiceInfo, ServiceStatus, ServiceType

ListServices: TypeAlias = Callable[[], Awaitable[Sequence[ServiceStatus]]]
GetServiceStatus: TypeAlias = Callable[[str], Awaitable[ServiceStatus]]

# A plane looks for lapsed leases every ten seconds: only past that it is sure to be more patient than it says,
# or its clock to be another than ours.
STALE_GRACE = 10.0


class Directory:
    """The services of one plane. It belongs to one event loop, starts no task, and needs no closing.

    Args:
        list_services, get_service_status: ask the plane.
        timeout: of one answer, in seconds.
        max_age: answers younger than this, in seconds, are given again; 0 asks each time.
        lease: how long a service counts as alive without a heartbeat, in seconds.
        clock: monotonic, in seconds.
        now: the wall clock, timezone-aware; compared with the plane's heartbeat times.
    """

    def __init__(
        self,
        list_services: ListServices,
        get_service_status: GetServiceStatus,
        *,
        timeout: float = 5.0,
        max_age: float = 0.5,
        lease: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        async def everybody(_: None) -> tuple[ServiceStatus, ...]:
            return tuple(await list_services())

        self._lists = Shared(everybody, timeout=timeout, max_age=max_age, clock=clock)
        self._statuses = Shared(get_service_status, timeout=timeout, max_age=max_age, clock=clock)
        self._lease, self._now = lease, now

    async def list_services(self) -> list[ServiceStatus]:
        """All services that the plane knows, healthy or not. Who asks at the same time shares one question.

        Raises:
            PlaneUnavailableError: if it does not answer, also not in time.
            ControlError: if it answers anything else.

        Cancellation: safe at any point, for the others who wait too.
        """
        return list(await self._lists.get(None))

    async def get_service_status(self, service_id: str) -> ServiceStatus:
        """One service, by the id that the plane gave it.

        Raises:
            NotRegisteredError: if the plane does not know it.
            PlaneUnavailableError: if it does not answer, also not in time.
            ControlError: if it answers anything else.

        Cancellation: safe at any point, for the others who wait too.
        """
        return await self._statuses.get(service_id)

    async def discover(
        self,
        service_type: ServiceType = ServiceType.UNSPECIFIED,
        *,
        event_types: Sequence[str] = (),
        metadata: Mapping[str, str] = NOTHING,
        healthy_only: bool = False,
    ) -> list[Candidate]:
        """Services of a type that take or give one of `event_types` and have all of `metadata`, the best first.

        Args:
            healthy_only: only those that say HEALTHY and have a heartbeat to prove it.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        found = [s for s in await self.list_services() if is_like(s, service_type, event_types, metadata)]
        return [one for one in self._ranked(found) if not healthy_only or _is_well(one)]

    async def upstream(self, info: ServiceInfo, *, include_unhealthy: bool = False) -> list[Candidate]:
        """Services whose outputs are inputs of `info`, the best first, itself left out.

        Args:
            include_unhealthy: also those that are UNHEALTHY or STOPPING.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        found = upstream_of(info, await self.list_services())
        return [one for one in self._ranked(found) if include_unhealthy or one.health not in UNUSABLE]

    async def downstream(self, info: ServiceInfo, *, include_unhealthy: bool = False) -> list[Candidate]:
        """Services whose inputs are outputs of `info`, the best first, itself left out.

        Args:
            include_unhealthy: also those that are UNHEALTHY or STOPPING.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        found = downstream_of(info, await self.list_services())
        return [one for one in self._ranked(found) if include_unhealthy or one.health not in UNUSABLE]

    def forget(self) -> None:
        """Ask anew next time, because the caller knows that something has changed."""
        self._lists.forget()
        self._statuses.forget()

    def _ranked(self, statuses: Sequence[ServiceStatus]) -> list[Candidate]:
        return ranked(statuses, now=self._now(), lease=self._lease + STALE_GRACE)


def _is_well(one: Candidate) -> bool:
    return one.health is Health.HEALTHY and not one.is_stale
