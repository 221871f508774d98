"""Waiting for a plane to know a service, with an assertion that tells whom it knows instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio

from flowctl_aio.types import Health, ServiceStatus


class Knowing(Protocol):
    """A plane, embedded or under test."""

    def is_running(self) -> bool: ...

    def services(self) -> list[ServiceStatus]: ...

    async def wait_until(self, condition: Callable[[], bool]) -> None: ...


async def wait_known(plane: Knowing, service_id: str, health: Health | None, timeout: float) -> ServiceStatus:
    """Return a service once a plane that is up knows it, and that it is as `health` says.

    Raises:
        AssertionError: if that takes longer than `timeout` seconds; it tells whom the plane knows.

    Cancellation: loses nothing.
    """

    def found() -> list[ServiceStatus]:
        if not plane.is_running():
            return []
        return [
            status for status in plane.services() if status.service_id == service_id and health in (None, status.health)
        ]

    with anyio.move_on_after(timeout):
        await plane.wait_until(lambda: bool(found()))
        return found()[0]
    known = ", ".join(f"{status.service_id} ({status.health.name})" for status in plane.services()) or "nobody"
    wanted = "" if health is None else f" as {health.name}"
    raise AssertionError(f"{service_id} is not registered{wanted} after {timeout:g} s; the plane knows {known}")
